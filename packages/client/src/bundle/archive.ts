/**
 * A bundle: the task's code, or the files that a program gets, as one value, named by its content. msgpack {v: 1,
 * files: {path: bytes}, executable?: [path]}, paths sorted and without dates, so that the same files always give the
 * same digest and are uploaded once.
 */
import { createHash } from "node:crypto";
import { EverycoreError, encode, isBundleDigest, limits } from "@everycore/protocol";
import type { BundleDigest } from "@everycore/protocol";

export interface Bundle {
  readonly digest: BundleDigest;
  readonly bytes: Buffer;
  /** What the worker loads: a file inside the bundle, or a module's name; empty for a program's files. */
  readonly entry: string;
}

export function makeBundle(
  files: ReadonlyMap<string, Uint8Array>,
  entry: string,
  executable: ReadonlySet<string> = new Set(),
): Bundle {
  const paths = [...files.keys()].toSorted();
  const programs = paths.filter((path) => executable.has(path));
  const bytes = encode({
    v: 1,
    files: Object.fromEntries(paths.map((path) => [path, files.get(path)])),
    ...(programs.length === 0 ? {} : { executable: programs }),
  });
  if (bytes.length > limits.bundleBytesMax) {
    throw new EverycoreError(
      "over-limit",
      `the ${entry === "" ? "files to ship have" : "task's code has"} ${bytes.length} bytes; a bundle may have ${limits.bundleBytesMax} (bundleBytesMax)`,
      {
        hint: `${entry === "" ? "ship less" : "keep data out of the code"}, or read it from files that the nodes have`,
      },
    );
  }
  const digest = createHash("sha256").update(bytes).digest("hex");
  if (!isBundleDigest(digest)) throw new EverycoreError("internal", "a digest is not a digest");
  return { digest, bytes, entry };
}
