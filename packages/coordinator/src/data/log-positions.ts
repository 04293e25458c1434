/** Where records of one job stand in its segment, without reading them. */
import type { JobId, SegmentId } from "@everycore/protocol";
import { parseLogSubject, streamOfSegment, subjects } from "@everycore/protocol";
import type { MsgRequest, StoredMsg } from "@nats-io/jetstream";
import { isMissing } from "./buckets.ts";
import type { Data } from "./connection.ts";

/** No message is there: an error of this API. */
const noMessage = 10_037;

export class LogPositions {
  readonly #data: Data;

  constructor(data: Data) {
    this.#data = data;
  }

  /** Sequence of the job's last record; 0: it has none. */
  async last(segment: SegmentId, job: JobId): Promise<number> {
    const found = await this.#both(segment, job, (subject) => ({ last_by_subj: subject }));
    return Math.max(0, ...found);
  }

  /** Sequence of its first one; 0: it has none. */
  async first(segment: SegmentId, job: JobId): Promise<number> {
    const found = await this.#both(segment, job, (subject) => ({ seq: 1, next_by_subj: subject }));
    return found.length === 0 ? 0 : Math.min(...found);
  }

  /** Whose record stands there, and since when; undefined: none of a job. */
  async at(segment: SegmentId, seq: number): Promise<{ job: JobId; storedAt: number } | undefined> {
    const message = await this.#message(segment, { seq });
    const address = message === undefined ? undefined : parseLogSubject(message.subject);
    return address === undefined ? undefined : { job: address.job, storedAt: message!.time.getTime() };
  }

  async #both(segment: SegmentId, job: JobId, query: (subject: string) => MsgRequest): Promise<number[]> {
    const found = await Promise.all(
      [subjects.logOfJob(segment, job), subjects.input(segment, job)].map((subject) =>
        this.#message(segment, query(subject)),
      ),
    );
    return found.flatMap((message) => (message === undefined ? [] : [message.seq]));
  }

  async #message(segment: SegmentId, query: MsgRequest): Promise<StoredMsg | undefined> {
    try {
      return (await this.#data.jsm.streams.getMessage(streamOfSegment(segment), query)) ?? undefined;
    } catch (error) {
      // The stream may have been deleted meanwhile.
      if (isMissing(error) || (error instanceof Error && "code" in error && error.code === noMessage))
        return undefined;
      throw error;
    }
  }
}
