// `everycore up --advertise`: a cluster that one command starts on one plain machine, and that another machine joins
// over the network. Both are containers.

import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { until } from "../support/until.ts";
import { blocksOf } from "./support/guide.ts";
import { docker } from "./support/images.ts";
import { PlainMachines } from "./support/plain-machines.ts";

const machines = ["head", "one"] as const;
type Machine = (typeof machines)[number];
const [up] = blocksOf("three-hosts.md", "up");
const [joinIt] = blocksOf("three-hosts.md", "agent");
const path = "export PATH=$HOME/.local/bin:$PATH";
let plain: PlainMachines<Machine>;

const on = (machine: Machine, script: string): Promise<string> => plain.on(machine, `cd; ${path}\n${script}`);

beforeAll(async () => {
  plain = await PlainMachines.start(inject("images").bare, machines);
  const [install] = blocksOf("three-hosts.md", "all");
  await Promise.all(machines.map((machine) => on(machine, install!)));
});

afterAll(() => plain?.[Symbol.asyncDispose]());

const bothConnected = (): Promise<unknown> =>
  until(async () => (await on("head", "everycore node list || true")).match(/ connected /g)?.length === 2, {
    what: "both machines to be connected",
    withinMs: 40_000,
    everyMs: 300,
  });

test("another machine joins what up has started, and both work; this machine's commands find it by themselves", async () => {
  await on("head", `{ ${up!.replace(/ &$/, "")}; } > up.out 2>&1 &`);
  const said = await until(
    async () => {
      const text = await on("head", "cat up.out");
      return text.includes("end it") ? text : undefined;
    },
    { what: "up to be there", withinMs: 40_000, everyMs: 300 },
  );
  expect(said).toMatch(/^WARNING: listening on 0\.0\.0\.0:7070 without encryption/m);
  expect(said).toMatch(/^ +join it +everycore agent --join head:7070 --secret-file .* --insecure-network/m);
  const secret = await on("head", "cat ~/.local/state/everycore/up/secret");
  await on("one", `(umask 077; echo ${secret} > ~/everycore.secret)\n${joinIt!}`);
  await bothConnected();
  const where = await on("head", "everycore run --range 1-16 -- sh -c 'sleep 0.2; uname -n'");
  expect([...new Set(where.trim().split("\n"))].toSorted()).toEqual(["head", "one"]);
  const from = "EVERYCORE_ADDRESS=head:7070 EVERYCORE_SECRET_FILE=~/everycore.secret";
  await on("one", "echo 'export default (n: number): number => n * n;' > square.ts");
  const values = await on("one", `${from} everycore map square.ts --range 1-5 --values`);
  expect(values.trim().split("\n").slice(-5)).toEqual(["1", "4", "9", "16", "25"]);
});

test("up is killed in the middle of a job and started again: the other machine comes back, nothing is lost", async () => {
  const id = (
    await on("head", "everycore run --range 1-80 --detach -- sh -c 'sleep 0.2; echo $0' {}")
  ).trim();
  await on("head", "kill -KILL $(sed -n 's/.*Ctrl-C, or kill //p' up.out)");
  await on("head", `{ ${up!.replace(/ &$/, "")}; } > up2.out 2>&1 &`);
  await bothConnected();
  await on("head", `everycore job wait ${id}`);
  expect(await on("head", `everycore job audit ${id}`)).toContain("every item has exactly one outcome");
  expect(await on("head", `everycore job get ${id}`)).toMatch(/^outcomes +80 value$/m);
});

test("without --insecure-network it is refused, and says which flag opens the network", async () => {
  const closed = up!.replace(" --insecure-network &", " --data ~/other");
  await expect(on("one", closed)).rejects.toThrow(
    /0\.0\.0\.0:7070 \(for --advertise head:7070\) can be reached from other machines/,
  );
  expect(
    await docker("exec", plain.nameOf("one"), "sh", "-c", "ls -d ~/other 2>/dev/null || echo none"),
  ).toBe("none");
});
