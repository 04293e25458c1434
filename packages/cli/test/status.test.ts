import type { ClusterStatus, NodeInfo } from "@everycore/client/internal";
import { expect, test } from "vitest";
import { leaderless, problemsOf } from "../src/commands/status.ts";
import { replicasText } from "../src/terminal/replicas-text.ts";

const node = (state: string, reason = ""): NodeInfo =>
  ({ id: "5f3c9a0112345678", state, reason, slots: 2, busy: 0 }) as unknown as NodeInfo; // what it looks at

const status = (more: Partial<ClusterStatus>): ClusterStatus =>
  ({
    leader: "10.0.0.1:7070",
    leading: true,
    epoch: 3,
    natsUrl: "10.0.0.9:4222",
    natsVersion: "2.15.1",
    nodes: [node("connected")],
    storageBytes: 1,
    storageLimit: 100,
    replication: { replicas: 1, streams: 0, behind: 0, servers: [] },
    ...more,
  }) as unknown as ClusterStatus;

test("a cluster with nothing to look at is healthy, also one whose nodes were drained", () => {
  expect(problemsOf(status({}))).toEqual([]);
  expect(problemsOf(status({ nodes: [node("connected"), node("drained", "drained")] }))).toEqual([]);
});

test("what is wrong is said, with what and how many", () => {
  expect(problemsOf(status({ nodes: [] }))).toEqual(["no node can take work"]);
  expect(problemsOf(status({ nodes: [node("connected"), node("lost"), node("lost")] }))).toEqual([
    "2 nodes are lost",
  ]);
  expect(problemsOf(status({ nodes: [node("connected"), node("suspected")] }))).toEqual([
    "1 node is suspected",
  ]);
  expect(problemsOf(status({ nodes: [node("connected", "its disk is full")] }))).toEqual([
    "node 5f3c9a01: its disk is full",
  ]);
  expect(
    problemsOf(status({ nodes: [node("connected"), node("quarantined", "quarantined for 29 min more")] })),
  ).toEqual(["node 5f3c9a01: quarantined for 29 min more (lift it: everycore node undrain 5f3c9a01)"]);
  expect(problemsOf(status({ natsVersion: "" }))).toEqual(["no connection to NATS at 10.0.0.9:4222"]);
  expect(problemsOf(status({ storageBytes: 85 }))).toEqual(["storage is nearly full"]);
});

test("replicas are said as they stand, and are a problem only when some are not current", () => {
  const good = { replicas: 3, streams: 7, behind: 0, servers: [] };
  expect(problemsOf(status({ replication: good }))).toEqual([]);
  expect(replicasText(good)).toBe("3 replicas of 7 streams, all current");
  const bad = { ...good, behind: 2, servers: ["nats-2"] };
  expect(problemsOf(status({ replication: bad }))).toEqual([
    "3 replicas of 7 streams, 2 of them not current, on nats-2",
  ]);
  expect(replicasText({ ...good, streams: 0 })).toBe("");
  const silent = { replicas: 0, streams: 0, behind: 0, servers: [] };
  expect(problemsOf(status({ replication: silent }))).toEqual([]);
  expect(replicasText(silent)).toMatch(/not known/);
});

test("a coordinator that stands by is as good as any; one that reaches no leader says so, and judges no nodes", () => {
  expect(problemsOf(status({ leading: false }))).toEqual([]);
  expect(problemsOf(status({ leading: false, epoch: 0, nodes: [] }))).toEqual([
    "the coordinator that was asked cannot reach the leader, 10.0.0.1:7070",
  ]);
  expect(problemsOf(status({ leading: false, leader: "", epoch: 0, nodes: [] }))).toEqual(["nobody leads"]);
});

test("without a leader there is one sentence, which says how far the one that was asked has come", () => {
  const nobody = { leading: false, leader: "", epoch: 0, nodes: [] };
  const of = (more: Partial<ClusterStatus>): { exitCode: number; message: string } =>
    leaderless(status({ ...nobody, ...more }), "10.0.0.2:7070");
  expect(of({ natsVersion: "" })).toMatchObject({
    exitCode: 4,
    message: "nobody leads: the coordinator at 10.0.0.2:7070 has no connection to NATS at 10.0.0.9:4222",
  });
  expect(of({})).toMatchObject({
    exitCode: 4,
    message: "nobody leads, says the coordinator at 10.0.0.2:7070",
  });
  expect(of({ leader: "10.0.0.1:7070" })).toMatchObject({
    exitCode: 4,
    message: "the coordinator at 10.0.0.2:7070 cannot reach the leader, 10.0.0.1:7070",
  });
});
