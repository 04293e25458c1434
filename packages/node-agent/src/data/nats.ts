/** The agent's connection to NATS: settings that were measured to matter (DESIGN 13), and the lease subject. */
import type { Msg, NatsConnection } from "@nats-io/nats-core";
import { connect } from "@nats-io/transport-node";

export interface NatsFacts {
  readonly natsUrls: readonly string[];
  readonly natsUser: string;
  readonly natsPassword: string;
  readonly inboxPrefix: string;
}

/** Connects, and stays connected for ever: an outage is waited out (P3). */
export function connectNats(
  facts: NatsFacts,
  options: { name: string; timeoutMs: number },
): Promise<NatsConnection> {
  return connect({
    servers: [...facts.natsUrls],
    ...(facts.natsUser === "" ? {} : { user: facts.natsUser, pass: facts.natsPassword }),
    name: options.name,
    ...(facts.inboxPrefix === "" ? {} : { inboxPrefix: facts.inboxPrefix }),
    timeout: options.timeoutMs,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 150,
    reconnectJitter: 100,
    pingInterval: 5_000,
    maxPingOut: 2,
    noAsyncTraces: true,
  });
}

export function listen(connection: NatsConnection, subject: string, onMessage: (message: Msg) => void): void {
  connection.subscribe(subject, {
    callback: (error, message) => void (error === null && onMessage(message)),
  });
}
