/**
 * Calls that this coordinator cannot answer itself go on to the leader, byte for byte: requests, answers, deadline,
 * cancellation, back-pressure, the caller's secret, and errors as the leader put them.
 *
 *  T1  a call that was passed on is never passed on again: two coordinators that each take the other for the leader
 *      refuse each other, and nothing goes in circles;
 *  T2  a call is sent again only when it was not taken: the other said that it does not lead, or could not be reached
 *      at all. What broke in the middle is for the caller to judge;
 *  T3  a call at a leader that is no longer one, and may hang there, ends when another leads (P5).
 */
import { setTimeout as delay } from "node:timers/promises";
import { EverycoreError, limits, times } from "@everycore/protocol";
import type { ClientDuplexStream, Deadline, MethodDefinition, ServiceError } from "@grpc/grpc-js";
import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import { notTakenKey } from "./errors.ts";

/** Says on a call that another coordinator has passed it on (T1). */
export const forwardedKey = "ec-forwarded";

const pollMs = 100;
const connectMs = 500;
/** A caller with a deadline hears why before it is over. */
const sayMs = 300;
/** Leaders of the past, whose last calls may not have ended. */
const clientsMax = 4;

/** Where a call goes on. */
export interface Way {
  readonly address: string;
  readonly client: Client;
}

export interface PassedCall {
  readonly path: string;
  /** The caller's secret: the leader checks it as we did. */
  readonly authorization: string;
  readonly signal: AbortSignal;
  readonly deadline: Deadline;
  readonly requests: AsyncIterable<Buffer>;
  readonly write: (message: Buffer) => Promise<void>;
  /** The leader has taken it: from now on it goes nowhere else. */
  readonly taken: () => void;
}

/** What the leader is asked beside a call that is answered here. */
interface Asked {
  readonly request: object;
  readonly withinMs: number;
  readonly method: MethodDefinition<object, object>;
}

/** An answer of the leader that is an error; it goes to the caller as it is. */
export class PassedFailure extends Error {
  readonly answer: ServiceError;

  constructor(answer: ServiceError) {
    super(answer.details);
    this.answer = answer;
  }
}

export interface ForwarderOptions {
  readonly isLeading: () => boolean;
  /** Address of whoever leads as EC_LEADER has it, or "". */
  readonly leader: () => Promise<string>;
  readonly ownAddress: () => string;
  /** The coordinator with this address has told that it leads, since then (performance.now()). */
  readonly heardSince: (address: string, since: number) => boolean;
}

type Out = ClientDuplexStream<Buffer, Buffer>;
const raw = (bytes: Buffer): Buffer => bytes;

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #clients = new Map<string, Client>();
  readonly #passing = new Set<{ readonly address: string; readonly end: (reason: EverycoreError) => void }>();
  #isClosed = false;

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  /** Calls that are being passed on. */
  get count(): number {
    return this.#passing.size;
  }

  /** Waits for whoever leads; undefined: ourselves. Throws no-leader when there is none in time. */
  async find(call: { signal: AbortSignal; deadline: Deadline }, waitMs: number): Promise<Way | undefined> {
    const { isLeading, leader, ownAddress } = this.#options;
    const end = endOf(call.deadline, waitMs);
    for (;;) {
      call.signal.throwIfAborted();
      if (isLeading()) return undefined;
      // NATS may be away, and would be asked for longer than there is time.
      const address = await Promise.race([
        leader(),
        delay(Math.max(0, end - Date.now()), "", { ref: false }),
      ]);
      if (address !== "" && address !== ownAddress()) {
        const client = this.#clientOf(address);
        if (await isReady(client, Math.min(end, Date.now() + connectMs))) return { address, client };
      }
      if (isLeading()) return undefined;
      if (Date.now() + pollMs > end || this.#isClosed) throw nobodyLeads(address, ownAddress());
      await delay(pollMs, undefined, { signal: call.signal }).catch(() => {}); // gone: the loop's start says so
    }
  }

  /** Finds the leader and passes the call on; false: we lead ourselves. */
  async passOn(call: PassedCall): Promise<boolean> {
    const end = endOf(call.deadline, times.leaderWaitMs);
    for (;;) {
      const way = await this.find(call, end - Date.now());
      if (way === undefined) return false;
      if (await this.pass(way, call)) return true;
      // It stands by as we do: EC_LEADER is older than what it knows of itself.
      if (Date.now() + pollMs > end) throw nobodyLeads("", "");
      await delay(pollMs, undefined, { signal: call.signal });
    }
  }

  /** False: the other does not lead, and has not taken the call. */
  async pass({ address, client }: Way, call: PassedCall): Promise<boolean> {
    const metadata = new Metadata();
    metadata.set("authorization", call.authorization);
    metadata.set(forwardedKey, "1");
    const out: Out = client.makeBidiStreamRequest(call.path, raw, raw, metadata, { deadline: call.deadline });
    const taken = Promise.withResolvers<void>();
    const over = new AbortController();
    let lost: EverycoreError | undefined;
    out.once("metadata", () => {
      taken.resolve();
      call.taken();
    });
    const cancel = (): void => out.cancel();
    call.signal.addEventListener("abort", cancel, { once: true });
    const passing = {
      address,
      end: (reason: EverycoreError): void => {
        lost = reason;
        out.cancel();
      },
    };
    this.#passing.add(passing);
    try {
      void send(out, call.requests, { taken: taken.promise, over: over.signal });
      for await (const message of out) await call.write(message as Buffer);
      return true;
    } catch (error) {
      call.signal.throwIfAborted();
      if (lost !== undefined) throw lost;
      if (isFailure(error) && error.metadata.get(notTakenKey).length > 0) return false;
      throw failureOf(error, address);
    } finally {
      this.#passing.delete(passing);
      call.signal.removeEventListener("abort", cancel);
      over.abort();
      out.on("error", () => {}); // of a cancelled call; nobody is left to hear it
      out.cancel();
    }
  }

  /** The leader's answer to one request; undefined: we lead, or there was none in time. */
  async ask(call: PassedCall, { request, withinMs, method }: Asked): Promise<object | undefined> {
    const deadline = Math.min(timeOf(call.deadline), Date.now() + withinMs + sayMs);
    let answer: object | undefined;
    const own: PassedCall = {
      ...call,
      deadline,
      requests: only(method.requestSerialize(request)),
      write: async (message) => {
        answer = method.responseDeserialize(message);
      },
      taken: () => {},
    };
    try {
      const way = await this.find(own, withinMs);
      if (way !== undefined) await this.pass(way, own);
      return answer;
    } catch {
      call.signal.throwIfAborted();
      return undefined;
    }
  }

  /** True once we lead; false when another does who was not tried in vain, or nobody in time. */
  async leadsWithin(waitMs: number, options: { signal: AbortSignal; tried: string }): Promise<boolean> {
    const { isLeading, leader, ownAddress, heardSince } = this.#options;
    const { signal, tried } = options;
    const begunAt = performance.now();
    const end = Date.now() + waitMs;
    while (!signal.aborted && !this.#isClosed && Date.now() < end) {
      if (isLeading()) return true;
      const address = await leader();
      if (isLeading()) return true;
      // A leader that the caller has lost may have come back, and then it says so.
      const isThere = address !== tried || heardSince(address, begunAt);
      if (address !== "" && address !== ownAddress() && isThere) return false;
      await delay(pollMs, undefined, { signal }).catch(() => {}); // gone: the loop's condition ends it
    }
    return false;
  }

  /** Somebody began to lead, or a leader is gone (T3). */
  async leaderChanged(): Promise<void> {
    if (this.#passing.size === 0) return;
    const { isLeading, leader, ownAddress } = this.#options;
    const address = isLeading() ? ownAddress() : await leader();
    if (address === "") return;
    for (const passing of this.#passing)
      if (passing.address !== address)
        passing.end(new EverycoreError("no-leader", `${passing.address} no longer leads, but ${address}`));
  }

  close(): void {
    this.#isClosed = true;
    const reason = new EverycoreError("no-leader", "this coordinator ends");
    for (const passing of this.#passing) passing.end(reason);
    for (const client of this.#clients.values()) client.close();
  }

  #clientOf(address: string): Client {
    const known = this.#clients.get(address);
    if (known !== undefined) return known;
    const client = new Client(address, credentials.createInsecure(), {
      "grpc.max_receive_message_length": limits.grpcMessageBytesMax,
      "grpc.max_send_message_length": limits.grpcMessageBytesMax,
      "grpc.keepalive_time_ms": 10_000,
      "grpc.keepalive_timeout_ms": 5_000,
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": connectMs,
      "grpc.enable_http_proxy": 0,
    });
    this.#clients.set(address, client);
    const [oldest] = this.#clients.keys();
    if (this.#clients.size > clientsMax && oldest !== undefined) {
      this.#clients.get(oldest)?.close();
      this.#clients.delete(oldest);
    }
    return client;
  }
}

/** A stream is written from only once the other has taken it: until then it can go elsewhere (T2). */
async function send(
  out: Out,
  requests: AsyncIterable<Buffer>,
  state: { taken: Promise<void>; over: AbortSignal },
): Promise<void> {
  const { over } = state;
  const ended = Promise.withResolvers<void>();
  over.addEventListener("abort", () => ended.resolve(), { once: true });
  await Promise.race([state.taken, ended.promise]);
  if (over.aborted) return;
  for await (const request of requests) {
    if (over.aborted) return;
    if (out.write(request)) continue;
    const drained = Promise.withResolvers<void>();
    out.once("drain", drained.resolve);
    await Promise.race([drained.promise, ended.promise]);
  }
  out.end();
}

async function* only(request: Buffer): AsyncGenerator<Buffer> {
  yield request;
}

/** When the wait for a leader ends. */
const endOf = (deadline: Deadline, waitMs: number): number =>
  Math.min(Date.now() + waitMs, timeOf(deadline) - sayMs);

const timeOf = (deadline: Deadline): number => (deadline instanceof Date ? deadline.getTime() : deadline);

async function isReady(client: Client, by: number): Promise<boolean> {
  const ready = Promise.withResolvers<boolean>();
  try {
    client.waitForReady(by, (error) => ready.resolve(error === undefined));
  } catch {
    return false; // closed: we end, or it was the oldest of many
  }
  return ready.promise;
}

function nobodyLeads(address: string, own: string): EverycoreError {
  if (address === "" || address === own)
    return new EverycoreError("no-leader", "no coordinator leads at the moment", {
      hint: "try again in a moment; if it lasts, look at nats-server and at the coordinators' logs",
    });
  return new EverycoreError("no-leader", `the leader at ${address} cannot be reached from this coordinator`, {
    hint: "try again in a moment; if it lasts, check that coordinators reach each other's advertised addresses",
  });
}

const isFailure = (error: unknown): error is ServiceError =>
  error instanceof Error && "code" in error && typeof error.code === "number" && "metadata" in error;

/** What the leader said goes on as it is; what the way to it said is ours to explain. */
function failureOf(error: unknown, address: string): unknown {
  if (!isFailure(error)) return error;
  const isOurs = error.metadata.get("ec-code").length > 0;
  if (!isOurs && (error.code === status.UNAVAILABLE || error.code === status.CANCELLED)) {
    return new EverycoreError("no-leader", `the leader at ${address} went away while it worked on this`, {
      hint: "try again in a moment",
      cause: error,
    });
  }
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(error.metadata.getMap()))
    if (key.startsWith("ec-")) metadata.set(key, value);
  return new PassedFailure(
    Object.assign(new Error(error.details), { code: error.code, details: error.details, metadata }),
  );
}
