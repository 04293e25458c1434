// The tarballs that are published, made from this checkout into a folder of the test's own.

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const script = fileURLToPath(new URL("../../../scripts/pack.ts", import.meta.url));

export async function pack(folder: string): Promise<void> {
  await promisify(execFile)(process.execPath, [script, "--out", folder]);
}
