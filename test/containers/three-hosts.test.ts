// The guide "Ten minutes to three hosts", followed as it stands there on three plain machines, which are containers:
// the packed tarballs are installed, a coordinator with its own nats-server starts on one, agents join from the others.
// The last test is the client's package for programs: on Node 22, and with its types.

import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { until } from "../support/until.ts";
import { blocksOf } from "./support/guide.ts";
import { docker } from "./support/images.ts";
import { PlainMachines } from "./support/plain-machines.ts";

const machines = ["head", "one", "two"] as const;
type Machine = (typeof machines)[number];
let plain: PlainMachines<Machine>;

const on = (machine: Machine, script: string): Promise<string> => plain.on(machine, script);

/** `scp -p`, as the guide has it. */
async function copySecret(to: Machine): Promise<void> {
  const secret = await on("head", "cat ~/.local/state/everycore/coordinator/secret");
  await on(to, `(umask 077; echo ${secret} > ~/everycore.secret)`);
}

beforeAll(async () => {
  plain = await PlainMachines.start(inject("images").bare, machines);
});

afterAll(() => plain?.[Symbol.asyncDispose]());

test("the tarballs install on each machine, and map works there at once, with a cluster of its own", async () => {
  const [install] = blocksOf("three-hosts.md", "all");
  const said = await Promise.all(machines.map((machine) => on(machine, install!)));
  for (const text of said) expect(text).toMatch(/^everycore \d+\.\d+\.\d+ \(Node 24\./m);
  const task = "echo 'export default (n: number): number => n * n;' > here.ts";
  const map = await on(
    "two",
    `export PATH=$HOME/.local/bin:$PATH; ${task}\neverycore map here.ts --range 1-5 --values`,
  );
  expect(map).toContain("no cluster configured");
  expect(map.trim().split("\n").slice(-5)).toEqual(["1", "4", "9", "16", "25"]);
});

test("a coordinator and two agents on three machines run jobs, as the guide shows", async () => {
  const [start] = blocksOf("three-hosts.md", "head");
  const [joinIt] = blocksOf("three-hosts.md", "agent");
  const [use] = blocksOf("three-hosts.md", "use");
  await on("head", start!);
  await until(() => on("head", "test -s ~/.local/state/everycore/coordinator/secret && echo there"), {
    what: "the coordinator's secret",
    withinMs: 30_000,
  }).catch(() => {}); // the next line says why not
  for (const machine of ["one", "two"] as const) {
    await copySecret(machine);
    await on(machine, joinIt!);
  }
  const settings = use!.split("\n").slice(0, 2).join("\n");
  await until(
    async () => (await on("head", `${settings}\neverycore node list`)).match(/ connected /g)?.length === 2,
    {
      what: "two agents to be connected",
      withinMs: 40_000,
      everyMs: 500,
    },
  );
  const said = await on("head", use!);
  expect(said).toMatch(/^\w+ +one +connected /m);
  expect(said).toMatch(/^\w+ +two +connected /m);
  expect(said).toContain("1\n4\n9\n16\n25\n36\n49\n64\n81\n100\n");
  expect([...said.matchAll(/^item (\d) on (one|two)$/gm)].map(([, item]) => item)).toEqual([
    "1",
    "2",
    "3",
    "4",
  ]);
  const python = "echo 'def f(n): return n' > task.py\neverycore map task.py:f --range 1-1";
  await expect(on("head", `${settings}\n${python}`)).rejects.toThrow(/no node has Python/); // these machines have none
});

test("a second agent on the same folder is refused, and a folder that was copied gets an id of its own", async () => {
  const again = blocksOf("three-hosts.md", "agent")[0]!.replace(/ &$/, " --http-listen 127.0.0.1:0");
  await expect(on("one", again)).rejects.toThrow(/is in use by the agent with pid \d+/);
  const state = "~/.local/state/everycore";
  await on("one", `rm -rf ~/copy; cp -r ${state}/agent ~/copy`);
  await docker("cp", `${plain.nameOf("one")}:/home/node/copy`, join(plain.folder, "copy"));
  await docker("cp", join(plain.folder, "copy"), `${plain.nameOf("head")}:/home/node/copy`);
  await docker("exec", "--user", "root", plain.nameOf("head"), "chown", "-R", "node:node", "/home/node/copy");
  const clone = blocksOf("three-hosts.md", "agent")[0]!.replace(
    "~/everycore.secret",
    `${state}/coordinator/secret --data ~/copy`,
  );
  await on("head", clone);
  const settings = blocksOf("three-hosts.md", "use")[0]!.split("\n").slice(0, 2).join("\n");
  const list = await until(
    async () => {
      const said = await on("head", `${settings}\neverycore node list`);
      return said.match(/ connected /g)?.length === 3 ? said : undefined;
    },
    { what: "three nodes of three ids", withinMs: 30_000, everyMs: 500 },
  );
  expect(new Set([...list.matchAll(/^(\w{8}) +(head|one|two) /gm)].map(([, id]) => id)).size).toBe(3);
});

test("a secret of root's that a group may read is taken, one that all may read is not", async () => {
  const file = "/home/node/group.secret";
  const settings = `export PATH=$HOME/.local/bin:$PATH EVERYCORE_ADDRESS=head:7070 EVERYCORE_SECRET_FILE=${file}`;
  const script = (mode: string): string =>
    `cp ~node/.local/state/everycore/coordinator/secret ${file}; chown root:node ${file}; chmod ${mode} ${file}`;
  await docker("exec", "--user", "root", plain.nameOf("head"), "sh", "-c", script("0440"));
  expect(await on("head", `${settings}\neverycore status`)).toMatch(/^cluster /m);
  await docker("exec", "--user", "root", plain.nameOf("head"), "sh", "-c", script("0444"));
  await expect(on("head", `${settings}\neverycore status`)).rejects.toThrow(/can be read by others/);
});

test("the client's package runs on Node 22, with its types, and computes on the three hosts", async () => {
  const program = `import { connect, range, taskModule } from "@everycore/client";
import type * as tasks from "./task.js";
const cluster = await connect();
const task = taskModule<typeof tasks>(new URL("./task.ts", import.meta.url));
const values: number[] = await cluster.map(task, "square", range(1, 5)).all();
// @ts-expect-error the task's types are known
cluster.map(task, "sqare", range(1));
console.log(process.version, values.join());
await cluster.close();
`;
  const config =
    '{"compilerOptions":{"module":"nodenext","target":"es2022","lib":["esnext"],"strict":true,"types":["node"]}}';
  const arch = process.arch === "arm64" ? "arm64" : "x64";
  const said = await on(
    "two",
    `mkdir -p ~/consumer; cd ~/consumer; echo '{"type":"module"}' > package.json; echo '${config}' > tsconfig.json
npm install --silent ~/everycore-protocol-*.tgz ~/everycore-client-*.tgz node-linux-${arch}@22 typescript@5.9 @types/node@22
echo 'export const square = (n: number): number => n * n;' > task.ts
cat > main.ts <<'PROGRAM'
${program}PROGRAM
npx tsc
export EVERYCORE_ADDRESS=head:7070 EVERYCORE_SECRET_FILE=~/everycore.secret
./node_modules/node-linux-${arch}/bin/node main.js`,
  );
  expect(said).toMatch(/^v22\.\d+\.\d+ 1,4,9,16$/m);
});
