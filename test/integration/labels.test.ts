// `--require`: a job runs on the nodes that have what it needs, and waits for one that comes.

import { writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { Command, everycore, jsonLines, makeTestUser } from "../support/command.ts";
import { until } from "../support/until.ts";

test("a job that requires a label runs where it is, and waits for it until an agent brings it", async () => {
  await using cluster = await startCluster({ agents: 1, slots: 1 });
  const { environment } = cluster;
  const zoned = await cluster.addAgent({ labels: ["zone=here"] });
  const script = ["--", "sh", "-c", "echo hello"];
  const fits = await everycore(["run", "--range", "1-20", "--require", "zone=here", ...script], {
    environment,
  });
  expect(fits).toMatchObject({ code: 0, stdout: "hello\n".repeat(20) });
  const { jobs } = await cluster.client.listJobs({ limit: 1 });
  expect(jobs[0]!.usage.map(({ node }) => node)).toEqual([zoned.node]);
  const node = await everycore(["node", "get", zoned.node], { environment });
  expect(node.stdout).toMatch(/labels +zone=here/);

  await writeFile(cluster.path("same.mjs"), "export default (n) => n;");
  const waiting = new Command(["map", "same.mjs", "--range", "0-3", "--require", "gpu"], {
    environment,
    cwd: cluster.dir,
    stdin: "",
  });
  await until(
    async () => {
      const [job] = (await cluster.client.listJobs({ limit: 1 })).jobs;
      return job?.reason === "blocked: no-node (no node has the label gpu; they have zone=here)";
    },
    { what: "the job to say what it waits for", withinMs: 20_000 },
  );
  await cluster.addAgent({ labels: ["gpu=a100"] });
  const { code, stdout } = await waiting.end();
  expect(code).toBe(0);
  expect(jsonLines(stdout)).toHaveLength(4);

  const refused = await everycore(["run", "--range", "1-2", "--require", "python=2.7", ...script], {
    environment,
  });
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain("no node has Python 2.7");
  const wrong = await everycore(["run", "--range", "1-2", "--require", "a b", ...script], { environment });
  expect(wrong.code).toBe(2);
});

test("labels are a setting: flag before variable before everycore.json, for up and embedded", async () => {
  await using user = await makeTestUser();
  await writeFile(user.path("everycore.json"), JSON.stringify({ labels: ["zone=file", "disk=ssd"] }));
  const map = ["run", "--range", "1-1", "--require", "zone=file", "--require", "disk=ssd", "--", "true"];
  expect(await user.run(map)).toMatchObject({ code: 0 });

  const shown = await user.run(["config", "get", "labels", "--show-origin"]);
  expect(shown.stdout).toMatch(/labels +zone=file,disk=ssd +\/.*\/everycore\.json\n/);
  const environment = { EVERYCORE_LABELS: "zone=variable" };
  const variable = await user.run(["config", "get", "labels", "--show-origin"], { environment });
  expect(variable.stdout).toMatch(/labels +zone=variable +EVERYCORE_LABELS\n/);

  const up = user.start(["up", "--agents", "2", "--slots", "2", "--label", "zone=flag"], {
    stdin: "",
    environment,
  });
  await up.prints(/everycore is up: .*\n/, 40_000);
  const listed = await user.run(["node", "list", "-o", "json"]);
  const nodes = JSON.parse(listed.stdout) as { labels: string[] }[];
  expect(nodes.map(({ labels }) => labels)).toEqual([["zone=flag"], ["zone=flag"]]);
  up.pressCtrlC();
  expect((await up.end()).code).toBe(0);
});

test("a wrong label is refused with where it stands, before anything is started", async () => {
  await using user = await makeTestUser();
  const environment = { EVERYCORE_LABELS: "gpu=a100,gpu=h100" };
  for (const verb of [["up"], ["agent", "--join", "127.0.0.1:1"], ["run", "--range", "1-1", "--", "true"]]) {
    const { code, stderr } = await user.run(verb, { environment });
    expect(code).toBe(2);
    expect(stderr).toContain("labels of EVERYCORE_LABELS: a label is given twice");
  }
  await writeFile(user.path("everycore.json"), JSON.stringify({ labels: "python=3.11" }));
  const { code, stderr } = await user.run(["up"]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/labels of \/.*\/everycore\.json: "python=3\.11": python is no label/);
  expect((await user.run(["up", "--label", "gpu"])).stderr).toContain('"gpu" is not a label');
});
