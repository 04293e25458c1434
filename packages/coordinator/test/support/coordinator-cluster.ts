/** A coordinator, its NATS, one agent in the test, and EC_JOBS as another coordinator sees it. */
import { buckets } from "@everycore/protocol";
import type { KV } from "@nats-io/kv";
import { Kvm } from "@nats-io/kv";
import { connect } from "@nats-io/transport-node";
import type { TestNatsServer } from "../../../../test/support/nats-server.ts";
import { startNatsServer } from "../../../../test/support/nats-server.ts";
import { until } from "../../../../test/support/until.ts";
import { Calls, CoordinatorProcess, secret } from "./coordinator-process.ts";
import type { FakeAgentOptions } from "./fake-agent.ts";
import { FakeAgent } from "./fake-agent.ts";

export interface CoordinatorCluster extends AsyncDisposable {
  readonly calls: Calls;
  readonly coordinator: CoordinatorProcess;
  readonly agent: FakeAgent;
  /** While true, the agent accepts leases and runs none. */
  readonly held: { value: boolean };
  readonly jobs: KV;
  readonly nats: TestNatsServer;
  readonly epoch: () => Promise<number>;
}

export async function startCoordinatorCluster(run?: FakeAgentOptions["run"]): Promise<CoordinatorCluster> {
  const nats = await startNatsServer();
  const coordinator = await CoordinatorProcess.start(nats.url);
  const held = { value: false };
  const agent = await FakeAgent.start({
    address: coordinator.listen,
    secret,
    natsUrl: nats.url,
    node: "a".repeat(16),
    isHeld: () => held.value,
    ...(run === undefined ? {} : { run }),
  });
  await until(() => agent.linked > 0, { what: "the agent's welcome" });
  const calls = new Calls(coordinator.listen);
  const former = await connect({ servers: nats.url });
  return {
    calls,
    coordinator,
    agent,
    nats,
    held,
    jobs: await new Kvm(former).open(buckets.jobs),
    epoch: async () => (await calls.unary("ClusterService", "Status", {})).epoch,
    async [Symbol.asyncDispose]() {
      await former.close();
      calls[Symbol.dispose]();
      await agent[Symbol.asyncDispose]();
      await coordinator[Symbol.asyncDispose]();
      await nats[Symbol.asyncDispose]();
    },
  };
}
