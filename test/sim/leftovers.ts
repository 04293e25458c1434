/** What a killed agent's files say, as its successor publishes it (packages/node-agent/src/recovery.ts). */
import type { CommitPart, LogRecord } from "@everycore/protocol";
import { levelOf, limits } from "@everycore/protocol";
import type { Disk, SliceFile } from "./disk.ts";

/** Commits of all outcomes in the files, then a `lost` strike for each running item. */
export function leftoversOf(disk: Disk): LogRecord[] {
  const records: LogRecord[] = [];
  for (const file of disk.files.values()) records.push(...commitsOf(disk, file));
  for (const file of disk.files.values()) {
    const cursor = file.start + file.items;
    if (!file.isRunning || cursor >= Math.min(file.end, file.limit)) continue;
    const { job, epoch, grant: lease } = file;
    const ranges = [{ start: cursor, end: cursor + 1 }];
    records.push({ kind: "strike", job, epoch, cause: "lost", lease, ranges, byLeader: false });
  }
  return records;
}

function commitsOf(disk: Disk, file: SliceFile): LogRecord[] {
  const records: LogRecord[] = [];
  const { job, epoch, grant } = file;
  const parts = disk.runs(file, 0).map((run): CommitPart => {
    const tried = levelOf(file.attempts, run.start);
    const isGood = run.status === 0 || run.status === 17;
    const failed = run.status === 2 ? "timeout" : "error";
    const status = isGood ? "value" : tried < file.retries ? "again" : failed;
    const part = { lease: 0, start: run.start, end: run.end, status } as const;
    return run.missing === undefined ? part : { ...part, missing: run.missing };
  });
  for (let at = 0; at < parts.length; at += limits.commitPartsMax) {
    const some = parts.slice(at, at + limits.commitPartsMax);
    records.push({ kind: "commit", job, epoch, leases: [grant], parts: some, usage: [], bytes: 1 });
  }
  return records;
}
