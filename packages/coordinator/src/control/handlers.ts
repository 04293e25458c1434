/** What an RPC is made of: which coordinator answers it, and its shape. Each handler states its messages' fields. */
import { EverycoreError } from "@everycore/protocol";

// Messages are as proto-loader gives them: camel case, defaults filled in.
export type Message = object;

/**
 * Who answers: the leader, to whom other coordinators pass the call on; whichever coordinator is asked; or only one
 * that leads, and whoever asks another is told where to go (agents: a link is not passed on).
 */
export type Place = "leader" | "here" | "leading";

export interface HandledCall {
  /** Requests in order; the next is taken when the last has been dealt with. */
  readonly requests: AsyncIterable<never>;
  /** Resolves when the wire wants more. */
  readonly write: (message: Message) => Promise<void>;
  /** Aborted when the caller is gone. */
  readonly signal: AbortSignal;
  /** What the leader says to the same call; undefined: we lead, or there is none in time. */
  readonly leadersAnswer: (request: Message, withinMs: number) => Promise<Message | undefined>;
}

export interface Handler {
  readonly place: Place;
  readonly run: (call: HandledCall) => Promise<void>;
}

export type Handlers = Readonly<Record<string, Handler>>;

type Writing = Pick<HandledCall, "write" | "signal">;

/** Messages come from proto-loader by the service's own definition: a handler's type of them is that definition's. */
async function onlyRequest<In>(requests: AsyncIterable<unknown>): Promise<In> {
  for await (const request of requests) return request as In;
  throw new EverycoreError("bad-input", "the call ended without its request");
}

export const unary = <In extends object>(
  run: (request: In, signal: AbortSignal, leadersAnswer: HandledCall["leadersAnswer"]) => Promise<Message>,
): Handler => ({
  place: "leader",
  run: async ({ requests, write, signal, leadersAnswer }) =>
    write(await run(await onlyRequest<In>(requests), signal, leadersAnswer)),
});

export const upload = <In>(
  run: (requests: AsyncIterable<In>, signal: AbortSignal) => Promise<Message>,
): Handler => ({
  place: "leader",
  run: async ({ requests, write, signal }) => write(await run(requests as AsyncIterable<In>, signal)),
});

export const download = <In>(run: (request: In, writing: Writing) => Promise<void>): Handler => ({
  place: "leader",
  run: async ({ requests, write, signal }) => run(await onlyRequest<In>(requests), { write, signal }),
});

export const duplex = <In>(
  run: (stream: Writing & { readonly requests: AsyncIterable<In> }) => Promise<void>,
): Handler => ({
  place: "leader",
  run: ({ requests, write, signal }) => run({ requests: requests as AsyncIterable<In>, write, signal }),
});

/** Any coordinator answers it. */
export const here = (handler: Handler): Handler => ({ ...handler, place: "here" });

/** Only a coordinator that leads answers it. */
export const leading = (handler: Handler): Handler => ({ ...handler, place: "leading" });
