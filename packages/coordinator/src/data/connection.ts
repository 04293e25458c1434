/**
 * The connection to NATS with the settings of DESIGN 13, and the first questions to the server: is it new
 * enough, does it store streams.
 */
import { EverycoreError } from "@everycore/protocol";
import type { JetStreamClient, JetStreamManager } from "@nats-io/jetstream";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { connect } from "@nats-io/transport-node";
import type { NatsAccess } from "../config.ts";
import { isUndecided, whileElecting } from "./replicas.ts";

/** Older servers lose streams after a crash in ways that were seen, or lack direct batch reads. */
const versionFloor = [2, 12, 7] as const;
/** Requests are short; whoever sends one tries again itself. */
export const requestMs = 2_000;

export interface Data {
  readonly nats: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
}

export async function openData(access: NatsAccess): Promise<Data> {
  const nats = await connectTo(access);
  try {
    checkVersion(nats);
    const jsm = await jetstreamManager(nats, { timeout: requestMs, checkAPI: false });
    await checkJetStream(jsm);
    return { nats, js: jetstream(nats, { timeout: requestMs }), jsm };
  } catch (error) {
    await nats.close();
    throw error;
  }
}

async function connectTo(access: NatsAccess): Promise<NatsConnection> {
  try {
    return await connect({
      servers: [...access.urls],
      user: access.user,
      pass: access.password,
      name: "everycore coordinator",
      maxReconnectAttempts: -1,
      reconnectTimeWait: 100,
      reconnectJitter: 150,
      pingInterval: 5_000,
      maxPingOut: 2,
      noAsyncTraces: true,
    });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new EverycoreError("unreachable", `NATS cannot be reached at ${access.urls.join(", ")}: ${why}`, {
      hint: "check that nats-server runs there and that user and password are right",
      cause: error,
    });
  }
}

/** Until the connection is closed for good. */
export async function watchConnection({ nats }: Data, onReconnect: () => void): Promise<void> {
  for await (const { type } of nats.status()) if (type === "reconnect") onReconnect();
}

function checkVersion(nats: NatsConnection): void {
  const version = nats.info?.version ?? "0.0.0";
  const parts = version.split(/[.-]/).map(Number);
  for (const [at, floor] of versionFloor.entries()) {
    const part = parts[at] ?? 0;
    if (part > floor) return;
    if (part < floor) {
      throw new EverycoreError(
        "refused",
        `nats-server ${version} is too old: everycore needs ${versionFloor.join(".")}`,
        {
          hint: "install a newer nats-server, or let everycore start its own",
        },
      );
    }
  }
}

async function checkJetStream(jsm: JetStreamManager): Promise<void> {
  try {
    await whileElecting(() => jsm.getAccountInfo());
  } catch (error) {
    if (isUndecided(error)) {
      throw new EverycoreError("unreachable", "JetStream of the NATS cluster has no leader", {
        hint: "more than half of its nats-servers must run and reach each other",
        cause: error,
      });
    }
    throw new EverycoreError("refused", "JetStream is not enabled on the NATS server, or not for our user", {
      hint: "start nats-server with --jetstream and a store_dir",
      cause: error,
    });
  }
}
