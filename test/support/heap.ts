// What a process keeps in memory once everything that nobody needs is collected: heap and buffers, without what its
// allocator holds. Asked by its inspector, which `inspectOptions` in NODE_OPTIONS opens.

export const inspectOptions = "--inspect=127.0.0.1:0";

const answerWithinMs = 30_000;
/** What was just freed may have held what only the next collection finds. */
const collections = 3;

interface Usage {
  readonly usedSize: number;
  readonly backingStorageSize: number;
}

/** How the inspector of a process is reached: Node says so first of all on its stderr. */
export function inspectorOf(stderr: string): string {
  const url = /Debugger listening on (ws:\S+)/.exec(stderr)?.[1];
  if (url === undefined) throw new Error(`no inspector: ${stderr.slice(0, 500)}`);
  return url;
}

export async function keptBytes(inspector: string): Promise<number> {
  const socket = new WebSocket(inspector);
  try {
    await heard(socket, "open");
    for (let count = 0; count < collections; count += 1) await ask(socket, "HeapProfiler.collectGarbage");
    const { usedSize, backingStorageSize } = (await ask(socket, "Runtime.getHeapUsage")) as Usage;
    return usedSize + backingStorageSize;
  } finally {
    socket.close();
  }
}

async function ask(socket: WebSocket, method: string): Promise<unknown> {
  const answer = heard(socket, "message");
  socket.send(JSON.stringify({ id: 1, method }));
  const { data } = (await answer) as MessageEvent;
  const { result, error } = JSON.parse(String(data)) as { result?: unknown; error?: { message: string } };
  if (error !== undefined) throw new Error(`${method}: ${error.message}`);
  return result;
}

function heard(socket: WebSocket, what: "open" | "message"): Promise<Event> {
  const { promise, resolve, reject } = Promise.withResolvers<Event>();
  const late = setTimeout(() => reject(new Error("the inspector does not answer")), answerWithinMs);
  socket.addEventListener(what, resolve, { once: true });
  socket.addEventListener("error", () => reject(new Error("the inspector cannot be reached")), {
    once: true,
  });
  return promise.finally(() => clearTimeout(late));
}
