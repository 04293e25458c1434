/** How many bytes of file storage the streams of everycore may reserve in all (segments.ts, G1). */
import { buckets } from "@everycore/protocol";
import { StorageType } from "@nats-io/jetstream";
import { isFull, isMissing } from "./buckets.ts";
import type { Data } from "./connection.ts";
import { isClustered, whileElecting } from "./replicas.ts";

const probeName = "EC_PROBE";
const probeStep = 16 * 1024 * 1024;
const probeMax = 2 ** 42;
/** In a cluster: each try is so much of the one before. */
const clusterStep = 0.9;
/** A limit is good for so long: a cluster still counts a probe for a moment after it is gone. */
const limitMs = 10_000;

export class Room {
  readonly #data: Data;
  readonly #replicas: number;
  #found: { readonly limit: number; readonly at: number } | undefined;

  constructor(data: Data, replicas: number) {
    this.#data = data;
    this.#replicas = replicas;
  }

  /**
   * An account without a limit of its own does not tell the server's; what a stream can reserve besides ours is then
   * found by trying.
   */
  async limit(): Promise<number> {
    const { jsm } = this.#data;
    const info = await jsm.getAccountInfo();
    if (info.limits.max_storage > 0) return Math.floor(info.limits.max_storage / this.#replicas);
    const known = this.#found;
    if (known !== undefined && performance.now() - known.at < limitMs) return known.limit;
    await this.#removeProbe(); // of a leader that was killed
    let reserved = 0;
    for await (const stream of jsm.streams.list()) {
      if (stream.config.storage === StorageType.File) reserved += Math.max(0, stream.config.max_bytes);
    }
    const limit = reserved + (isClustered(this.#data) ? await this.#descend() : await this.#bisect());
    this.#found = { limit, at: performance.now() };
    return limit;
  }

  /** About 20 quick requests. */
  async #bisect(): Promise<number> {
    let fits = 0;
    let over = probeMax;
    while (over - fits > probeStep) {
      const tried = fits === 0 && over === probeMax ? 2 ** 33 : Math.floor((fits + over) / 2);
      if (await this.#canReserve(tried)) fits = tried;
      else over = tried;
    }
    return fits;
  }

  /**
   * In a cluster a stream that was made and deleted is counted for a moment longer, one that was refused never was:
   * so from above, with one success, whose size is up to a tenth less than there is.
   */
  async #descend(): Promise<number> {
    for (let tried = probeMax; tried > probeStep; tried = Math.floor(tried * clusterStep)) {
      if (await whileElecting(() => this.#canReserve(tried))) return tried;
    }
    return 0;
  }

  async #canReserve(bytes: number): Promise<boolean> {
    const { jsm } = this.#data;
    try {
      await jsm.streams.add({
        name: probeName,
        subjects: [`ec.probe.${buckets.meta}`],
        storage: StorageType.File,
        max_bytes: bytes,
        num_replicas: this.#replicas,
      });
    } catch (error) {
      if (isFull(error)) return false;
      throw error;
    }
    await this.#removeProbe();
    return true;
  }

  async #removeProbe(): Promise<void> {
    try {
      await whileElecting(() => this.#data.jsm.streams.delete(probeName));
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
}
