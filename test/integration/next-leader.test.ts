// Where agents look for the next leader, when what they were told of coordinators is not true any more (P5).

import type { Connection } from "@everycore/client/internal";
import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { collect, submit, upTo, valuesOf } from "../support/jobs.ts";
import type { Role } from "../support/role.ts";
import { until } from "../support/until.ts";

const leads = (role: Role): Promise<unknown> =>
  until(async () => (await role.metric("everycore_leading")) === 1, {
    withinMs: 30_000,
    what: "the next one to lead",
  });

async function runsAJob(client: Connection): Promise<void> {
  const job = await submit(client, { task: "arithmetic.ts:square", range: [0, 9] });
  expect(valuesOf((await collect(client, job)).outcomes)).toEqual(upTo(10).map((n) => n * n));
}

test("a coordinator that came after the agents had linked is found by them, once all that they knew are dead", async () => {
  await using cluster = await startCluster({ coordinators: 2, agents: 1 });
  const [late] = cluster.standbys;
  await late!.kill("SIGKILL");
  await late!.start(); // at another address
  const address = late!.text("address");
  await until(
    async () => (await cluster.client.status()).coordinators.some((one) => one.address === address),
    { what: "the leader to hear of it" },
  );
  await cluster.coordinator.kill("SIGKILL");
  await leads(late!);
  await using client = cluster.clientOf(late!);
  await runsAJob(client);
});

interface Broken {
  readonly at: number;
  readonly address: string;
}

const brokenLinks = (agent: Role): Broken[] =>
  agent
    .log()
    .split("\n")
    .filter((line) => line.includes('"link broken"'))
    .map((line) => JSON.parse(line) as { time: number; address: string })
    .map(({ time, address }) => ({ at: time, address }));

test("after an outage in which each coordinator knew itself alone, the next leader is found", async () => {
  await using cluster = await startCluster({ coordinators: 3, agents: 1 });
  await cluster.coordinator.kill("SIGKILL"); // all that the agent was started with
  const connected = async (role: Role): Promise<boolean> => {
    await using client = cluster.clientOf(role);
    return (await client.listNodes()).some(({ state }) => state === "connected");
  };
  await until(() => connected(cluster.standbys[0]!), { withinMs: 30_000, what: "the agent to be linked" });

  const stoppedAt = Date.now();
  await cluster.nats.kill("SIGSTOP");
  // Whoever answers so late has heard of nobody for longer than others are remembered, and says so. After two of them no
  // address is left to try from the time before.
  const isLate = ({ at, address }: Broken): boolean => at > stoppedAt + 6_000 && address !== cluster.address;
  const { address } = await until(() => brokenLinks(cluster.agents[0]!).filter(isLate)[1], {
    withinMs: 60_000,
    what: "the agent to be refused by those that know themselves alone",
  });
  const told = cluster.standbys.find((role) => role.text("address") === address)!;
  const other = cluster.standbys.find((role) => role !== told)!;
  await told.kill("SIGKILL");
  await cluster.nats.kill("SIGCONT");
  await leads(other);
  await using client = cluster.clientOf(other);
  await runsAJob(client);
});
