// `everycore up`: a cluster that stays, found by this user's commands, with state that survives whatever is killed.

import { readFileSync, readdirSync } from "node:fs";
import { stat } from "node:fs/promises";
import { expect, test } from "vitest";
import { freePort } from "../../packages/cli/src/local/free-port.ts";
import { type Command, type TestUser, jsonLines, makeTestUser } from "../support/command.ts";
import { RunLog, taskFile, upTo } from "../support/jobs.ts";
import { processesOf } from "../support/processes.ts";
import { until } from "../support/until.ts";

const square = `${taskFile("arithmetic.ts")}:square`;

async function startUp(user: TestUser, args: readonly string[] = []): Promise<Command & AsyncDisposable> {
  const up = user.start(["up", ...args], { stdin: "" });
  await up.prints(/everycore is up: .*\n/, 40_000);
  const stop = async (): Promise<void> => {
    if (up.process.exitCode === null && up.process.signalCode === null) up.pressCtrlC();
    await up.end();
  };
  return Object.assign(up, { [Symbol.asyncDispose]: stop });
}

/** Until none is left: `up` may start one of its parts again before it is killed itself. */
const killAll = (user: TestUser, spared?: number): Promise<boolean> =>
  until(
    () => {
      const left = processesOf(user.home).filter(({ pid }) => pid !== spared);
      for (const { pid } of left) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // it has ended meanwhile
        }
      }
      return left.length === 0;
    },
    { what: "all processes of the user to end" },
  );

test("up is found by commands, serves jobs that outlive their command, and ends in order by Ctrl-C", async () => {
  await using user = await makeTestUser();
  await using up = await startUp(user, ["--agents", "2", "--slots", "2"]);
  const status = await user.run(["status"]);
  expect(status.stdout).toMatch(/slots +0 of 2 busy on 2 nodes/);
  const detached = await user.run(["map", square, "--range", "0-9", "--detach"]);
  expect(detached.code).toBe(0);
  const id = detached.stdout.trim();
  expect((await user.run(["job", "wait", id])).code).toBe(0);
  const results = await user.run(["job", "results", id, "--values"]);
  expect(jsonLines(results.stdout)).toEqual(upTo(10).map((n) => n * n));
  up.pressCtrlC();
  expect((await up.end()).code).toBe(0);
  expect(processesOf(user.home)).toEqual([]);
  expect((await user.run(["status"])).code).toBe(4);
});

test("its secret and its address are readable by this user alone", async () => {
  await using user = await makeTestUser();
  await using _up = await startUp(user);
  const modeOf = async (path: string): Promise<number> => (await stat(user.path(path))).mode & 0o077;
  expect(await modeOf("run/everycore/up.json")).toBe(0);
  expect(await modeOf("state/everycore/up/secret")).toBe(0);
  expect(await modeOf("state/everycore/up")).toBe(0);
  const secret = readFileSync(user.path("state/everycore/up/secret"), "utf8").trim();
  const seen = processesOf(user.home).filter(({ pid }) =>
    readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(secret),
  );
  expect(seen).toEqual([]); // argv can be read by every user of the machine
});

test("a command without the secret, or with a wrong one, is refused with exit 4", async () => {
  await using user = await makeTestUser();
  await using _up = await startUp(user);
  const { address } = JSON.parse(readFileSync(user.path("run/everycore/up.json"), "utf8")) as {
    address: string;
  };
  await using stranger = await makeTestUser();
  const without = await stranger.run(["status", "--address", address]);
  expect(without.code).toBe(4);
  expect(without.stderr).toMatch(/secret/);
  const wrong = await stranger.run(["status"], {
    environment: { EVERYCORE_ADDRESS: address, EVERYCORE_SECRET: "0".repeat(64) },
  });
  expect(wrong.code).toBe(4);
  expect(wrong.stderr).toMatch(/secret/);
});

test("up started twice says which process runs already; the same state folder is refused too", async () => {
  await using user = await makeTestUser();
  await using up = await startUp(user);
  const twice = await user.run(["up"]);
  expect(twice.code).toBe(2);
  expect(twice.stderr).toContain(`everycore up runs already, as process ${up.process.pid}`);
  const data = user.path("state/everycore/up");
  const elsewhere = await user.run(["up", "--data", data], {
    environment: { XDG_RUNTIME_DIR: user.path("config") },
  });
  expect(elsewhere.code).toBe(2);
  expect(elsewhere.stderr).toContain(data);
});

test("an address for others that leads nowhere from here keeps neither its own agent nor this machine's commands away", async () => {
  await using user = await makeTestUser();
  const flags = ["--listen", "127.0.0.1:0", "--advertise", "head.invalid:7070"];
  const nats = ["--nats-listen", `127.0.0.1:${await freePort()}`, "--agent-nats", "nats://head.invalid:4222"];
  await using up = await startUp(user, [...flags, ...nats, "--slots", "1"]);
  expect(up.stdout).toMatch(/^ +join it +everycore agent --join head\.invalid:7070 --secret-file /m);
  const map = await user.run(["map", square, "--range", "0-3", "--values"]);
  expect(map).toMatchObject({ code: 0, stdout: "0\n1\n4\n9\n" });
});

test(
  "parts that are killed are started again; the job goes on, nothing runs twice",
  { timeout: 90_000 },
  async () => {
    await using user = await makeTestUser();
    await using up = await startUp(user, ["--agents", "1", "--slots", "1"]);
    const log = new RunLog(user.home);
    const items = upTo(40).map((index) => JSON.stringify(log.item(index, { ms: 5, isHeld: index >= 20 })));
    const command = user.start(["map", `${taskFile("recorded.ts")}:run`, "--items", "-", "--values"], {
      stdin: `${items.join("\n")}\n`,
    });
    await log.hasBegunItem(20);
    const coordinator = processesOf(user.home).find(({ command: line }) =>
      /coordinator.*main\.ts/.test(line),
    )!;
    process.kill(coordinator.pid, "SIGKILL");
    await until(() => up.stderr.includes("coordinator ended (signal SIGKILL); it is started again"), {
      what: "up to say that it starts the coordinator again",
    });
    log.open();
    const { stdout, code } = await command.end();
    expect(jsonLines(stdout)).toEqual(upTo(40));
    expect(log.repeated()).toEqual([]);
    expect(code).toBe(0);
  },
);

test(
  "up killed with all its parts and started again: jobs and results are still there",
  { timeout: 90_000 },
  async () => {
    await using user = await makeTestUser();
    let id = "";
    {
      await using up = await startUp(user);
      id = (await user.run(["map", square, "--range", "0-4", "--detach"])).stdout.trim();
      expect((await user.run(["job", "wait", id])).code).toBe(0);
      await killAll(user);
      await up.end();
    }
    expect((await user.run(["status"])).code).toBe(4); // a stale up.json is no cluster
    await using _up = await startUp(user);
    const results = await user.run(["job", "results", id, "--values"]);
    expect(jsonLines(results.stdout)).toEqual([0, 1, 4, 9, 16]);
  },
);

test(
  "a command that follows a job goes on when its up is killed with all its parts and started again",
  { timeout: 90_000 },
  async () => {
    await using user = await makeTestUser();
    const log = new RunLog(user.home);
    const items = upTo(10).map((index) => JSON.stringify(log.item(index, { ms: 5, isHeld: index >= 5 })));
    const follow = (): Command =>
      user.start(
        ["map", `${taskFile("recorded.ts")}:run`, "--items", "-", "--values", "--progress", "none"],
        {
          stdin: `${items.join("\n")}\n`,
        },
      );
    let command: Command;
    {
      await using up = await startUp(user, ["--slots", "1"]);
      command = follow();
      await command.prints(/^4$/m);
      await killAll(user, command.process.pid);
      await up.end();
    }
    log.open();
    await using _up = await startUp(user, ["--slots", "1"]);
    const { stdout, stderr, code } = await command.end();
    expect(stderr).toBe("");
    expect(jsonLines(stdout)).toEqual(upTo(10));
    expect(code).toBe(0);
  },
);

test("a node that is drained stays away", { timeout: 60_000 }, async () => {
  await using user = await makeTestUser();
  await using up = await startUp(user, ["--agents", "2", "--slots", "2"]);
  const { stdout } = await user.run(["node", "list", "-o", "json"]);
  const [node] = JSON.parse(stdout) as { id: string }[];
  expect((await user.run(["node", "drain", node!.id, "--wait"])).code).toBe(0);
  await until(() => /agent-\d was drained and has ended; it stays away/.test(up.stderr), {
    what: "up to say that the agent stays away",
  });
  expect(up.stderr).not.toContain("started again");
  expect((await user.run(["map", square, "--range", "0-4", "--values"])).stdout).toBe("0\n1\n4\n9\n16\n");
});

test("doctor sees the running cluster; its findings are a table or JSON", async () => {
  await using user = await makeTestUser();
  await using _up = await startUp(user);
  const { code, stdout } = await user.run(["doctor", "-o", "json"]);
  const findings = JSON.parse(stdout) as { level: string; what: string; detail: string }[];
  expect(findings.find(({ what }) => what === "cluster")).toMatchObject({
    level: "ok",
    detail: expect.stringContaining("1 nodes") as string,
  });
  expect(findings.find(({ what }) => what === "nats-server")?.level).toBe("ok");
  expect(code).toBe(0);
  expect(readdirSync(user.path("state/everycore"))).toContain("up");
});
