/**
 * `--joblog FILE`, a line for each item in GNU parallel's format, for its readers: Seq Host Starttime JobRuntime Send
 * Receive Exitval Signal Command. Outcomes say how long an item ran, not when it began: Starttime is when this command
 * saw the outcome, less its run time. A line is written once its outcome is read, so in item order unless --unordered.
 */
import { createWriteStream } from "node:fs";
import { constants } from "node:os";
import { argumentsOf, decodeErrorInfo } from "@everycore/protocol";
import type { JobSpec } from "@everycore/protocol";
import type { Connection, ItemSource, Outcome } from "@everycore/client/internal";
import { Sink } from "./terminal/sink.ts";

const header = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";
/** Items read and not ended yet, whose text is kept for their line; beyond it a line names the item by its number. */
const keptBytesMax = 64 * 1024 * 1024;

export class JobLog implements AsyncDisposable {
  readonly #sink: Sink;
  readonly #spec: JobSpec;
  readonly #hosts: HostNames;
  readonly #items = new Map<number, Uint8Array>();
  #keptBytes = 0;
  #read = 0;

  constructor(file: string, options: { spec: JobSpec; cluster: Connection; signal: AbortSignal }) {
    this.#sink = new Sink(createWriteStream(file), { name: file, isOwned: true });
    this.#spec = options.spec;
    this.#hosts = new HostNames(options.cluster, options.signal);
    this.#sink.add(header);
  }

  /** The same items, remembered on their way until they end. */
  async *remember(source: ItemSource): ItemSource {
    for await (const items of source) {
      for (const item of items) this.#keep(item);
      yield items;
    }
  }

  #keep(item: Uint8Array): void {
    if (this.#keptBytes + item.length <= keptBytesMax) {
      this.#items.set(this.#read, item);
      this.#keptBytes += item.length;
    }
    this.#read += 1;
  }

  async add(outcomes: Iterable<Outcome>): Promise<void> {
    const now = Date.now();
    for (const outcome of outcomes) {
      const { index, status, node, payload, micros } = outcome;
      const item = this.#items.get(index);
      if (item !== undefined) this.#keptBytes -= item.length;
      this.#items.delete(index);
      if (status === "cancelled" || status === "expired") continue; // it has not run
      const { exitval, signal, received } = endOf(outcome);
      const fields = [
        index + 1,
        await this.#hosts.of(node),
        ((now - micros / 1_000) / 1_000).toFixed(3),
        (micros / 1e6).toFixed(3).padStart(10),
        item?.length ?? 0,
        received ?? payload.length,
        exitval,
        signal,
        commandText(this.#spec, index, item === undefined ? undefined : textOf(item)),
      ];
      if (this.#sink.add(`${fields.join("\t")}\n`)) await this.#sink.flush();
    }
    await this.#sink.flush();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#sink[Symbol.asyncDispose]();
  }
}

const textOf = (item: Uint8Array): string =>
  Buffer.from(item.buffer, item.byteOffset, item.byteLength).toString("utf8");

/** Exit status and signal as a shell would see them; -1 where no process of the item's own ended (GNU parallel too). */
function endOf(outcome: Outcome): { exitval: number; signal: number; received?: number } {
  if (outcome.isValue) return { exitval: 0, signal: 0 };
  const error = outcome.codec === "error" ? decodeErrorInfo(outcome.payload) : outcome.error();
  const received = error.stdout?.length ?? 0;
  const named = (constants.signals as Readonly<Record<string, number>>)[error.signal ?? ""] ?? 0;
  if (outcome.status === "timeout") return { exitval: -1, signal: constants.signals.SIGKILL, received };
  if (named > 0) return { exitval: 0, signal: named, received };
  return { exitval: error.exitCode ?? (outcome.status === "error" ? 1 : -1), signal: 0, received };
}

/** The program with the item in its place, or the function and the item; on one line. */
export function commandText(spec: JobSpec, index: number, item: string | undefined): string {
  const { task } = spec;
  const text = spec.codec === "range" ? String(task.rangeStart + index) : item;
  const known = text ?? `(item ${index})`;
  const line =
    task.argv === undefined
      ? `${spec.name} ${known}`
      : (text === undefined ? task.argv : argumentsOf(task.argv, { text, index })).join(" ");
  return line.replaceAll(/[\t\r\n]/g, " ");
}

/** Names of nodes, asked for when one is new; its id where it has gone. */
class HostNames {
  readonly #cluster: Connection;
  readonly #signal: AbortSignal;
  readonly #names = new Map<string, string>();

  constructor(cluster: Connection, signal: AbortSignal) {
    this.#cluster = cluster;
    this.#signal = signal;
  }

  async of(node: string): Promise<string> {
    if (node === "") return "-"; // the leader ended it
    const known = this.#names.get(node);
    if (known !== undefined) return known;
    const nodes = await this.#cluster.listNodes({ signal: this.#signal });
    for (const { id, host } of nodes) this.#names.set(id, host);
    if (!this.#names.has(node)) this.#names.set(node, node);
    return this.#names.get(node)!;
  }
}
