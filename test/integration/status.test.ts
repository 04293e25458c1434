// `everycore status` where nobody leads: it waits for a moment, and says what is amiss instead of a screen without nodes.

import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { everycore } from "../support/command.ts";
import { until } from "../support/until.ts";

test("a coordinator whose NATS is away: one sentence and exit code 4, and good again once it is back", async () => {
  await using cluster = await startCluster();
  const { environment } = cluster;
  await cluster.nats.kill("SIGKILL");
  await until(async () => (await cluster.coordinator.metric("everycore_leading")) === 0, {
    what: "the leader to step down",
  });
  const away = await everycore(["status"], { environment });
  expect(away).toMatchObject({ code: 4, stdout: "" });
  expect(away.stderr).toMatch(
    /^everycore: nobody leads: the coordinator at \S+ has no connection to NATS at \S+\n/,
  );
  const json = await everycore(["status", "-o", "json"], { environment });
  expect(json.code).toBe(4);
  expect(JSON.parse(json.stdout)).toMatchObject({
    epoch: 0,
    problems: ["nobody leads", expect.stringMatching(/^no connection/)],
  });
  await cluster.nats.restart();
  await cluster.client.listNodes(); // which waits for a leader
  expect(await everycore(["status"], { environment })).toMatchObject({ code: 0, stderr: "" });
});

test("between two leaders it waits for the next one", async () => {
  await using cluster = await startCluster({ coordinators: 2, agents: 0 });
  const [standby] = cluster.standbys;
  const environment = { EVERYCORE_ADDRESS: standby!.text("address"), EVERYCORE_SECRET: cluster.secret };
  await cluster.coordinator.kill("SIGKILL");
  const { code, stdout, stderr } = await everycore(["status"], { environment });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(new RegExp(`leader +${standby!.text("address")} \\(epoch 2\\)`));
});
