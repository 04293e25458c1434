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

interface Answer {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

/** As far as we read it; `nodes` has a number for each field of each node. */
interface Snapshot {
  readonly nodes: readonly number[];
  readonly strings: readonly string[];
  readonly snapshot: {
    readonly meta: { readonly node_fields: string[]; readonly node_types: [readonly string[]] };
  };
}

/** How the inspector of a process is reached: Node says so first of all on its stderr. */
export function inspectorOf(stderr: string): string {
  const url = /Debugger listening on (ws:\S+)/.exec(stderr)?.[1];
  if (url === undefined) throw new Error(`no inspector: ${stderr.slice(0, 500)}`);
  return url;
}

export async function keptBytes(inspector: string): Promise<number> {
  const socket = await opened(inspector);
  try {
    for (let count = 0; count < collections; count += 1) await ask(socket, "HeapProfiler.collectGarbage");
    const { usedSize, backingStorageSize } = (await ask(socket, "Runtime.getHeapUsage")) as Usage;
    return usedSize + backingStorageSize;
  } finally {
    socket.close();
  }
}

/** How many objects of a class are kept. */
export async function instancesOf(inspector: string, className: string): Promise<number> {
  const socket = await opened(inspector);
  const chunks: string[] = [];
  socket.addEventListener("message", ({ data }) => {
    const { method, params } = JSON.parse(String(data)) as { method?: string; params?: { chunk: string } };
    if (method === "HeapProfiler.addHeapSnapshotChunk") chunks.push(params!.chunk);
  });
  try {
    await ask(socket, "HeapProfiler.takeHeapSnapshot"); // after a collection of its own
  } finally {
    socket.close();
  }
  const { nodes, strings, snapshot } = JSON.parse(chunks.join("")) as Snapshot;
  const [fields, [types]] = [snapshot.meta.node_fields, snapshot.meta.node_types];
  const [typeAt, nameAt] = [fields.indexOf("type"), fields.indexOf("name")];
  let count = 0;
  for (let at = 0; at < nodes.length; at += fields.length) {
    if (types[nodes[at + typeAt]!] === "object" && strings[nodes[at + nameAt]!] === className) count += 1;
  }
  return count;
}

async function ask(socket: WebSocket, method: string): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const late = setTimeout(() => reject(new Error("the inspector does not answer")), answerWithinMs);
  const hear = ({ data }: MessageEvent): void => {
    const { id, result, error } = JSON.parse(String(data)) as Answer;
    if (error !== undefined) reject(new Error(`${method}: ${error.message}`));
    else if (id === 1) resolve(result); // what has no id is an event
  };
  socket.addEventListener("message", hear);
  socket.send(JSON.stringify({ id: 1, method }));
  try {
    return await promise;
  } finally {
    clearTimeout(late);
    socket.removeEventListener("message", hear);
  }
}

async function opened(inspector: string): Promise<WebSocket> {
  const socket = new WebSocket(inspector);
  const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
  socket.addEventListener("open", () => resolve(socket), { once: true });
  socket.addEventListener("error", () => reject(new Error("the inspector cannot be reached")), {
    once: true,
  });
  return promise;
}
