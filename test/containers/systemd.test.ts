// The units of deploy/systemd under a real systemd, installed as the guide "Ten minutes to three hosts" has it: two
// machines, which are containers with systemd as process 1, run jobs while each unit is restarted, killed and drained.
// Where systemd cannot run in a container, or its image cannot be built, the tests are skipped and say why.

import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { until } from "../support/until.ts";
import { blocksOf } from "./support/guide.ts";
import { docker } from "./support/images.ts";
import { pack } from "./support/pack.ts";

const prefix = `everycore-test-${randomBytes(4).toString("hex")}`;
const machines = ["head", "one"] as const;
type Machine = (typeof machines)[number];
const units = fileURLToPath(new URL("../../deploy/systemd", import.meta.url));
const settings = "export EVERYCORE_ADDRESS=head:7070 EVERYCORE_SECRET_FILE=/etc/everycore/secret";
let folder: string;
/** Why there is no systemd here; empty where there is. */
let lack = "";

const nameOf = (machine: Machine): string => `${prefix}-${machine}`;

/** Runs a script as root and gives what it prints; it has an end, whatever it waits for. */
const on = (machine: Machine, script: string): Promise<string> =>
  docker("exec", nameOf(machine), "timeout", "120", "bash", "-euc", `cd /root; { ${script}\n} 2>&1`);

const everycore = (script: string): Promise<string> => on("head", `${settings}\n${script}`);

async function boot(machine: Machine): Promise<void> {
  await docker(
    ...[
      "run",
      "--detach",
      "--name",
      nameOf(machine),
      "--hostname",
      machine,
      "--label",
      "org.testcontainers=true",
    ],
    ...["--network", prefix, "--network-alias", machine, "--cgroupns", "private", "--cap-add", "SYS_ADMIN"],
    ...["--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"],
    ...["--tmpfs", "/run:exec", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec", "everycore-test/systemd"],
  );
  await isBooted(machine);
}

const isBooted = (machine: Machine): Promise<unknown> =>
  until(async () => /^(running|degraded)$/m.test(await on(machine, "systemctl is-system-running || true")), {
    what: `systemd to be up on ${machine}`,
    withinMs: 20_000,
    everyMs: 200,
  });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "everycore-test-pack-"));
  await pack(folder);
  try {
    await docker(
      "build",
      "--quiet",
      "--file",
      "test/containers/systemd.Dockerfile",
      "--tag",
      "everycore-test/systemd",
      ".",
    );
    await docker("network", "create", "--label", "org.testcontainers=true", prefix);
    await Promise.all(machines.map(boot));
  } catch (error) {
    lack = `systemd does not run in a container here: ${error instanceof Error ? error.message : String(error)}`;
    return;
  }
  const tarballs = (await readdir(folder)).filter((file) => file.endsWith(".tgz"));
  for (const machine of machines) {
    for (const file of tarballs) await docker("cp", join(folder, file), `${nameOf(machine)}:root/${file}`);
    await docker("cp", `${units}/.`, `${nameOf(machine)}:root/`);
  }
});

afterAll(async () => {
  const ids = await docker("ps", "--all", "--quiet", "--filter", `name=^/${prefix}-`);
  if (ids !== "") await docker("rm", "--force", "--volumes", ...ids.split("\n"));
  await docker("network", "rm", prefix).catch(() => {}); // there is none where nothing was begun
  await rm(folder, { recursive: true, force: true });
});

beforeEach((context) => {
  if (lack !== "") context.skip(lack);
});

const nodesAre = (state: Readonly<Record<Machine, string>>): Promise<unknown> =>
  until(
    async () => {
      const list = await everycore("everycore node list");
      return machines.every((machine) => new RegExp(`^\\w+ +${machine} +${state[machine]} `, "m").test(list));
    },
    { what: `the nodes to be ${JSON.stringify(state)}`, withinMs: 40_000, everyMs: 300 },
  );

/** A job whose items take a fifth of a second, and its id; some of it has ended when this resolves. */
async function begun(items: number): Promise<string> {
  const id = await everycore(`everycore run --range 1-${items} --detach -- sh -c 'sleep 0.2; echo $0' {}`);
  await hasEnded(id, 10);
  return id;
}

interface Counted {
  readonly state: string;
  readonly counts: { readonly value: number } | null;
  readonly strikes: number;
}

const jobOf = async (id: string): Promise<Counted> =>
  JSON.parse(await everycore(`everycore job get ${id} -o json`)) as Counted;

const hasEnded = (id: string, items: number): Promise<unknown> =>
  until(async () => ((await jobOf(id).catch(() => undefined))?.counts?.value ?? 0) >= items, {
    what: `${items} items of job ${id} to end`,
    withinMs: 60_000,
    everyMs: 200,
  });

async function endsWhole(id: string, items: number): Promise<Counted> {
  await everycore(`everycore job wait ${id}`);
  const job = await jobOf(id);
  expect(job).toMatchObject({ state: "done", counts: { value: items } });
  expect(await everycore(`everycore job audit ${id}`)).toContain("every item has exactly one outcome");
  return job;
}

const property = async (machine: Machine, unit: string, name: string): Promise<string> =>
  on(machine, `systemctl show --property ${name} --value ${unit}`);

/** All processes of the service's user. */
const processesOf = async (machine: Machine): Promise<string[]> =>
  (await on(machine, "find /proc -maxdepth 1 -name '[0-9]*' -user everycore -printf '%f\\n'"))
    .split("\n")
    .filter(Boolean);

test("followed as printed, the guide gives a cluster of services that runs jobs", async () => {
  const [install] = blocksOf("three-hosts.md", "unit");
  const [head] = blocksOf("three-hosts.md", "unithead");
  const [agent] = blocksOf("three-hosts.md", "unitagent");
  const [use] = blocksOf("three-hosts.md", "unituse");
  await Promise.all(machines.map((machine) => on(machine, install!)));
  await on("head", head!);
  const secret = await on("head", "cat everycore.secret");
  await on("one", `(umask 077; echo ${secret} > everycore.secret)`);
  await Promise.all(machines.map((machine) => on(machine, agent!)));
  await until(() => everycore("everycore node list").catch(() => undefined), {
    what: "a coordinator to answer",
    withinMs: 30_000,
    everyMs: 300,
  });
  await nodesAre({ head: "connected", one: "connected" });
  const said = await on("head", use!);
  expect(said.match(/ connected /g)?.length).toBe(2);
  expect(said.match(/Active: active \(running\)/g)?.length).toBe(2);
  const who = await everycore("everycore run --range 1-8 -- sh -c 'id -un; sleep 0.1'");
  expect(who).toBe(Array.from({ length: 8 }, () => "everycore").join("\n"));
});

test("their files are the service's user's alone; the journal has JSON lines under each unit's name", async () => {
  for (const machine of machines) {
    expect(
      await on(
        machine,
        "find /var/lib/everycore /var/cache/everycore -ignore_readdir_race ! -user everycore",
      ),
    ).toBe("");
    expect(
      await on(machine, "stat --format %a /var/lib/everycore /var/cache/everycore /etc/everycore/secret"),
    ).toBe("700\n700\n600");
  }
  for (const unit of ["everycore-coordinator", "everycore-agent"]) {
    const lines = (await on("head", `journalctl --identifier ${unit} --output cat`)).split("\n");
    const logs = lines
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as { msg: string });
    expect(logs.length).toBeGreaterThan(1);
    expect(logs.every(({ msg }) => msg !== "")).toBe(true);
  }
});

test("each unit is restarted in the middle of a job: every item has one outcome, none is struck", async () => {
  const id = await begun(150);
  await on("head", "systemctl restart everycore-coordinator");
  await hasEnded(id, 40);
  await on("head", "systemctl restart everycore-nats");
  await hasEnded(id, 70);
  await on("one", "systemctl restart everycore-agent");
  expect(await endsWhole(id, 150)).toMatchObject({ strikes: 0 });
});

test("an agent that is killed is started again, and nothing of its former life is left", async () => {
  await nodesAre({ head: "connected", one: "connected" });
  const id = await begun(100);
  const before = await processesOf("one");
  expect(before.length).toBeGreaterThan(4);
  await on("one", `kill -KILL ${await property("one", "everycore-agent", "MainPID")}`);
  await until(async () => (await property("one", "everycore-agent", "NRestarts")) === "1", {
    what: "systemd to start the agent again",
    withinMs: 20_000,
    everyMs: 200,
  });
  const after = await processesOf("one");
  expect(before.filter((pid) => after.includes(pid))).toEqual([]);
  await nodesAre({ head: "connected", one: "connected" });
  await endsWhole(id, 100);
});

test("stop drains: what runs comes to its end, nothing is struck, and the service stays down", async () => {
  const id = await everycore("everycore run --range 1-12 --detach -- sh -c 'sleep 3; echo $0' {}");
  const running = "cat /proc/[0-9]*/comm 2>/dev/null | grep --count --line-regexp sleep || true";
  await until(async () => Number(await on("one", running)) > 0, {
    what: "items to run on one",
    withinMs: 20_000,
    everyMs: 200,
  });
  const begin = performance.now();
  await on("one", "systemctl stop everycore-agent");
  expect(performance.now() - begin).toBeLessThan(20_000);
  expect(await processesOf("one")).toEqual([]);
  expect(await property("one", "everycore-agent", "Result")).toBe("success");
  expect(await property("one", "everycore-agent", "ActiveState")).toBe("inactive");
  await nodesAre({ head: "connected", one: "drained" });
  expect(await endsWhole(id, 12)).toMatchObject({ strikes: 0 });
});

test("a machine that boots again has its services, its jobs and its secret", async () => {
  const id = await begun(30);
  await docker("restart", nameOf("head"), nameOf("one"));
  await Promise.all(machines.map(isBooted));
  await until(() => everycore("everycore node list").catch(() => undefined), {
    what: "a coordinator to answer",
    withinMs: 30_000,
    everyMs: 300,
  });
  await nodesAre({ head: "connected", one: "connected" });
  await endsWhole(id, 30);
});
