// Files of programs (`run --files`, `--output`) with real agents: shipped once to each node, back byte for byte.

import { chmod, mkdir, mkdtemp, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestAgent, type TestCluster, startCluster } from "../support/cluster.ts";
import { Command, type Ended, everycore, jsonLines } from "../support/command.ts";
import { upTo } from "../support/jobs.ts";
import { until } from "../support/until.ts";

async function bundlesFetched(agent: TestAgent): Promise<number> {
  const text = await (await fetch(`http://${agent.text("http")}/metrics`)).text();
  return Number(/^everycore_agent_bundles_fetched_total (\d+)/m.exec(text)?.[1]);
}

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ agents: 2, slots: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

/** A user's folder, with a script that is to run on the nodes. */
async function userFolder(files: Readonly<Record<string, string | Buffer>>): Promise<string> {
  const folder = await mkdtemp(cluster.path("user-"));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(join(folder, name, ".."), { recursive: true });
    await writeFile(join(folder, name), content);
    if (name.endsWith(".sh")) await chmod(join(folder, name), 0o755);
  }
  return folder;
}

const run = (folder: string, args: readonly string[], stdin = ""): Promise<Ended> =>
  everycore(args, { environment: cluster.environment, cwd: folder, stdin });

test("a script and its data are fetched once by each node, whatever the number of items and jobs", async () => {
  const data = Buffer.from(upTo(70_000).map((n) => (n * 7) % 256));
  const folder = await userFolder({
    "tool.sh": '#!/bin/sh\ncksum < data/table.bin; test -x tool.sh && echo "item $1"; sleep 0.05\n',
    "data/table.bin": data,
  });
  const before = await Promise.all(cluster.agents.map(bundlesFetched));
  const args = ["run", "--range", "1-40", "--files", "tool.sh", "data", "--", "./tool.sh", "{}"];
  const first = await run(folder, args);
  expect((await newest()).usage).toHaveLength(2);
  const again = await run(folder, args);
  const fetched = await Promise.all(cluster.agents.map(bundlesFetched));
  expect(fetched.map((count, at) => count - before[at]!)).toEqual([1, 1]);
  const sum = (
    await run(folder, ["run", "--range", "1-1", "--files", "data", "--", "cksum", "data/table.bin"])
  ).stdout;
  const [crc, bytes] = sum.split(" ");
  expect(bytes).toBe(String(data.length));
  const expected = upTo(40).map((n) => `${crc} ${bytes}\nitem ${n + 1}\n`);
  for (const { code, stdout, stderr } of [first, again])
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: expected.join(""), stderr: "" });
});

async function newest() {
  const { jobs } = await cluster.client.listJobs({ limit: 1 });
  return jobs[0]!;
}

test("files come back byte for byte, each below its item's index; an item without any is no failure", async () => {
  const folder = await userFolder({
    "in/a.bin": Buffer.from([0, 255, 10, 13]),
    "in/b.bin": "b",
    "in/none": "",
  });
  const script = 'case $0 in *.bin) mkdir -p out && cat $0 $0 > out/result.bin;; esac; echo "did $0"';
  const args = ["run", "--each-line", "-", "--files", "in", "--output", "out/*", "--output-dir", "got"];
  const items = "in/a.bin\nin/none\nin/b.bin\n";
  const ended = await run(folder, [...args, "--", "sh", "-c", script], items);
  expect(ended.stdout).toBe("did in/a.bin\ndid in/none\ndid in/b.bin\n");
  expect(ended.stderr).toBe("2 files of 2 items written: got/INDEX/NAME\n");
  expect(ended.code).toBe(0);
  expect((await readdir(join(folder, "got"))).toSorted()).toEqual(["0", "2"]);
  const twice = Buffer.from([0, 255, 10, 13, 0, 255, 10, 13]);
  expect(await readFile(join(folder, "got/0/out/result.bin"))).toEqual(twice);
  expect(await readFile(join(folder, "got/2/out/result.bin"), "utf8")).toBe("bb");
});

test(
  "a file larger than a record comes back whole, as a program if it was one",
  { timeout: 60_000 },
  async () => {
    const folder = await userFolder({});
    const script = "head -c 5000000 /dev/urandom > large; chmod +x large; cksum < large";
    const args = ["run", "--range", "1-2", "--output", "large", "--", "sh", "-c", script];
    const { code, stdout } = await run(folder, args);
    expect(code).toBe(0);
    for (const [index, sum] of stdout.trim().split("\n").entries()) {
      const path = join(folder, String(index), "large");
      const here = await everycore(["run", "--range", "1-1", "--", "sh", "-c", `cksum < ${path}`], {
        environment: cluster.environment,
      });
      expect(here.stdout.trim()).toBe(sum);
      expect((await stat(path)).mode & 0o100).toBe(0o100);
    }
  },
);

test("a detached job keeps its files until somebody asks for them, more than once if wanted", async () => {
  const folder = await userFolder({});
  const args = [
    "run",
    "--range",
    "5-6",
    "--output",
    "*.txt",
    "--detach",
    "--",
    "sh",
    "-c",
    "echo $0 > n.txt",
  ];
  const id = (await run(folder, args)).stdout.trim();
  expect(await readdir(folder)).toEqual([]);
  for (const dir of ["one", "two"]) {
    const { code, stdout, stderr } = await run(folder, ["job", "results", id, "--output-dir", dir]);
    expect([code, stderr]).toEqual([0, `2 files of 2 items written: ${dir}/INDEX/NAME\n`]);
    expect(jsonLines(stdout)).toEqual([0, 1].map((index) => ({ index, value: { $bytes: "" } })));
    expect(await readFile(join(folder, dir, "1/n.txt"), "utf8")).toBe("6\n");
  }
  const { stdout } = await run(folder, ["job", "results", id, "--from", "1"]);
  expect(jsonLines(stdout)).toEqual([
    { index: 1, value: { stdout: { $bytes: "" }, files: { "n.txt": { $bytes: "Ngo=" } }, executable: [] } },
  ]);
  const replayed = await run(folder, ["job", "replay", id, "--item", "1"]);
  expect([replayed.code, replayed.stdout]).toEqual([0, ""]);
  expect(replayed.stderr).toMatch(/^item 1 of job \w+: the cluster has the same value/);
  const map = await run(folder, ["job", "results", id, "--output-dir", "/dev/null"]);
  expect([map.code, map.stderr]).toEqual([2, "everycore: --output-dir /dev/null is no folder\n"]);
});

test("a failed item's files come back too, and the command exits with 1", async () => {
  const folder = await userFolder({});
  const script = 'echo "log of $0" > log; echo said; test $0 != 2';
  const args = ["run", "--range", "1-3", "--output", "log", "--", "sh", "-c", script];
  const { code, stdout, stderr } = await run(folder, args);
  expect(code).toBe(1);
  expect(stdout).toBe("said\n".repeat(3));
  expect(stderr).toContain("3 files of 3 items written: ./INDEX/NAME");
  expect(await readFile(join(folder, "1/log"), "utf8")).toBe("log of 2\n");
});

test("a retry sees nothing of the try before, and its files are the ones that come back", async () => {
  const folder = await userFolder({ "input.txt": "as it was\n" });
  const tries = join(folder, "tries");
  const script = `cat input.txt; ls; echo try >> ${tries}; echo spoiled > input.txt; wc -l < ${tries} > left; test $(wc -l < ${tries}) -ge 3`;
  const args = ["run", "--range", "1-1", "--retries", "3", "--files", "input.txt", "--output", "left"];
  const { code, stdout } = await run(folder, [...args, "--", "sh", "-c", script]);
  expect(code).toBe(0);
  expect(stdout).toBe("as it was\ninput.txt\n");
  expect((await readFile(join(folder, "0/left"), "utf8")).trim()).toBe("3");
  expect(await readFile(join(folder, "input.txt"), "utf8")).toBe("as it was\n");
});

test("an item whose agent is killed begins again in a fresh folder", { timeout: 60_000 }, async () => {
  const folder = await userFolder({ "input.txt": "whole\n" });
  const begun = join(folder, "begun");
  const gate = join(folder, "gate");
  const script = `cat input.txt; ls; : > input.txt; echo x > left; echo x >> ${begun}; until test -e ${gate}; do sleep 0.05; done`;
  const args = [
    "run",
    "--range",
    "1-1",
    "--files",
    "input.txt",
    "--output",
    "left",
    "--",
    "sh",
    "-c",
    script,
  ];
  const command = new Command(args, { environment: cluster.environment, cwd: folder });
  const tries = async (): Promise<number> => (await readFile(begun, "utf8").catch(() => "")).length / 2;
  await until(async () => (await tries()) === 1, { withinMs: 20_000, what: "the item to begin" });
  const info = await newest();
  const busy = (await cluster.client.listNodes()).find(({ leased }) => leased > 0);
  const agent = cluster.agents.find(({ node }) => node === busy?.id)!;
  await agent.kill("SIGKILL");
  await cluster.restartAgent(agent);
  await until(async () => (await tries()) === 2, { withinMs: 30_000, what: "the item to begin again" });
  await writeFile(gate, "");
  const { code, stdout } = await command.end();
  expect([code, stdout]).toEqual([0, "whole\ninput.txt\n"]);
  expect((await cluster.client.getJob(info.id)).strikes).toBe(1);
});

test("files over the limit are an error of the item that names the limit", async () => {
  const folder = await userFolder({});
  const args = ["run", "--range", "1-1", "--output", "big", "--", "truncate", "-s", "64M", "big"];
  const most = await run(folder, ["run", "--range", "1-1", "--output", "none", ...args.slice(5)]);
  expect(most.code).toBe(0);
  const { code, stderr } = await run(folder, [...args.slice(0, -2), "67108865", "big"]);
  expect(code).toBe(1);
  expect(stderr).toContain(
    "67108865 bytes, more than returnedFilesBytesMax = 67108864; let --output match less",
  );
  expect(await readdir(folder)).toEqual([]);
});

test("an argument that names a file of this machine draws one remark, which --quiet and --files silence", async () => {
  const folder = await userFolder({ "data.csv": "1\n" });
  const args = ["--range", "1-2", "--", "sh", "-c", "test -e $0 && cat $0 || echo none", "data.csv"];
  const bare = await run(folder, ["run", ...args]);
  expect(bare.stdout).toBe("none\nnone\n");
  expect(bare.stderr).toBe(
    "note: data.csv is a file of this machine; programs on other nodes may not find it: ship it with --files data.csv\n",
  );
  expect((await run(folder, ["run", "--quiet", ...args])).stderr).toBe("");
  const shipped = await run(folder, ["run", "--files", "data.csv", ...args]);
  expect([shipped.stdout, shipped.stderr]).toEqual(["1\n1\n", ""]);
  const item = await run(folder, ["run", "--each-line", "-", "--", "wc", "-l"], "data.csv\n");
  expect(item.stderr).toMatch(/^note: data\.csv is a file of this machine/);
});

test("wrong use is refused before anything is submitted", async () => {
  const folder = await userFolder({ "a.txt": "" });
  const wrong: [string[], string][] = [
    [["--files", "*.png", "--", "true"], '--files "*.png" matches nothing'],
    [["--files", "/etc/hostname", "--", "true"], "/etc/hostname is outside of"],
    [["--files", "a.txt", "--", "./a.txt"], "chmod +x a.txt"],
    [["--output", "../*", "--", "true"], "leads out of the folder"],
    [["--output-dir", "x", "--", "true"], "only with --output"],
    [["--files", "a.txt", "true", "{}"], "put -- before the program"],
  ];
  const before = (await cluster.client.listJobs({ limit: 1 })).total;
  for (const [args, sentence] of wrong) {
    const { code, stderr } = await run(folder, ["run", "--range", "1-2", ...args]);
    expect([args, code]).toEqual([args, 2]);
    expect(stderr).toContain(sentence);
  }
  expect((await cluster.client.listJobs({ limit: 1 })).total).toBe(before);
  expect(await readdir(folder)).toEqual(["a.txt"]);
});

// What else the hosts do alike is told by packages/node-agent/test/runtimes/item-folders.test.ts.
test("a node without Python does the same", async () => {
  await using other = await startCluster({ agentEnvironment: { EVERYCORE_EXEC_HOST: "node" } });
  const folder = await userFolder({
    "tool.sh": '#!/bin/sh\ncat in; printf "$1\\0" > out.bin; echo bad > in\n',
    in: "good\n",
  });
  const args = ["run", "--range", "1-3", "--files", "tool.sh", "in", "--output", "*.bin", "--", "./tool.sh"];
  const ended = await everycore(args, { environment: other.environment, cwd: folder });
  const { code, stdout, stderr } = ended;
  expect([code, stdout, stderr]).toEqual([
    0,
    "good\n".repeat(3),
    "3 files of 3 items written: ./INDEX/NAME\n",
  ]);
  expect(await readFile(join(folder, "2/out.bin"), "latin1")).toBe("3\0");
});
