/**
 * The agent's place in NATS: where the leader last said it is, the connection, the lease subject. Settings are
 * those that were measured to matter (DESIGN 13). Where it was is remembered in the state directory, so that a
 * restarted agent publishes what its former self left before it says hello.
 */
import type { Msg, NatsConnection } from "@nats-io/nats-core";
import { connect } from "@nats-io/transport-node";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface NatsFacts {
  readonly natsUrls: readonly string[];
  readonly natsUser: string;
  readonly natsPassword: string;
  readonly inboxPrefix: string;
}

const connectWithinMs = 5_000;

export class NatsHome {
  readonly #file: string;
  readonly #name: string;
  readonly #url: string | undefined;
  #connection: NatsConnection | undefined;
  #facts: NatsFacts | undefined;

  /** `url`: the way to NATS from here, where it is another than the leader tells everybody. */
  constructor(options: { dataDir: string; name: string; url?: string | undefined }) {
    this.#file = join(options.dataDir, "nats.json");
    this.#name = options.name;
    this.#url = options.url;
  }

  get connection(): NatsConnection | undefined {
    return this.#connection;
  }

  /** Connects where it was before; false when that is not known or not there any more. */
  async returnTo(): Promise<boolean> {
    try {
      const facts = JSON.parse(readFileSync(this.#file, "utf8")) as NatsFacts; // our own file, 0600
      this.#connection = await connectNats(facts, this.#name);
      this.#facts = facts;
      return true;
    } catch {
      return false; // never welcomed before, or NATS moved: the leader will say where it is
    }
  }

  /** Connects where the leader says, and listens; an old connection goes only when the place has changed. */
  async join(told: NatsFacts, lease: { subject: string; onMessage: (message: Msg) => void }): Promise<void> {
    const facts = this.#url === undefined ? told : { ...told, natsUrls: [this.#url] };
    const same =
      this.#connection?.isClosed() === false && JSON.stringify(facts) === JSON.stringify(this.#facts);
    if (!same) {
      const old = this.#connection;
      this.#connection = await connectNats(facts, this.#name);
      this.#facts = facts;
      this.#listening = undefined;
      writeFileSync(this.#file, JSON.stringify(facts), { mode: 0o600 });
      await old?.close();
    }
    const connection = this.#connection!;
    if (this.#listening !== connection) {
      this.#listening = connection;
      connection.subscribe(lease.subject, {
        callback: (error, message) => {
          if (error === null) lease.onMessage(message);
        },
      });
    }
    // The server knows the subscription before the leader hears that we are ready for leases.
    await connection.flush();
  }
  #listening: NatsConnection | undefined;

  async close(): Promise<void> {
    await this.#connection?.close();
  }
}

/** Stays connected for ever: an outage is waited out (P3). */
function connectNats(facts: NatsFacts, name: string): Promise<NatsConnection> {
  return connect({
    servers: [...facts.natsUrls],
    ...(facts.natsUser === "" ? {} : { user: facts.natsUser, pass: facts.natsPassword }),
    name,
    ...(facts.inboxPrefix === "" ? {} : { inboxPrefix: facts.inboxPrefix }),
    timeout: connectWithinMs,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 150,
    reconnectJitter: 100,
    pingInterval: 5_000,
    maxPingOut: 2,
    noAsyncTraces: true,
  });
}
