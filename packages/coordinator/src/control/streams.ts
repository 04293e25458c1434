/** The calls of grpc-js as this project uses them: one signal, requests as an iteration, writes that wait for room. */
import { EverycoreError } from "@everycore/protocol";
import type { ServerDuplexStream } from "@grpc/grpc-js";

export function signalOf(call: { on(event: "cancelled", listener: () => void): unknown }): AbortSignal {
  const gone = new AbortController();
  call.on("cancelled", () => gone.abort(new EverycoreError("cancelled", "the caller is gone")));
  return gone.signal;
}

/** Not the stream's own iterator: that destroys a duplex call when its reader stops early. */
export async function* requestsOf<In>(call: ServerDuplexStream<In, unknown>): AsyncGenerator<In> {
  let wake = Promise.withResolvers<void>();
  let isOver = false;
  const rouse = (): void => {
    wake.resolve();
  };
  const end = (): void => {
    isOver = true;
    wake.resolve();
  };
  call.on("readable", rouse);
  call.on("end", end);
  call.on("cancelled", end);
  call.on("error", end);
  for (;;) {
    const message = call.read() as In | null; // object mode: one whole message
    if (message !== null) {
      yield message;
      continue;
    }
    if (isOver) return;
    await wake.promise;
    wake = Promise.withResolvers();
  }
}

export function writerOf<Out>(call: ServerDuplexStream<unknown, Out>): (message: Out) => Promise<void> {
  return async (message) => {
    if (call.cancelled) throw new EverycoreError("cancelled", "the caller is gone");
    if (call.write(message)) return;
    const ready = Promise.withResolvers<void>();
    call.once("drain", ready.resolve);
    call.once("cancelled", ready.resolve);
    await ready.promise;
    call.off("drain", ready.resolve);
    call.off("cancelled", ready.resolve);
  };
}
