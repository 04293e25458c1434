// A file system of the test's own, small enough to be filled. Needs root; in CI it must be had.

import { execFileSync } from "node:child_process";
import { rm } from "node:fs/promises";
import { expectNoLeftovers, makeTestFolder } from "./cluster.ts";

export interface SmallDisk extends AsyncDisposable {
  readonly path: string;
}

/** undefined: this user may mount nothing. */
export async function mountSmallDisk(megabytes: number): Promise<SmallDisk | undefined> {
  const path = await makeTestFolder();
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", path], { stdio: "pipe" });
  } catch (error) {
    if (process.env["CI"] === "true") throw error; // there it must not be left out
    await rm(path, { recursive: true });
    return undefined;
  }
  const unmount = async (): Promise<void> => {
    await expectNoLeftovers(path);
    execFileSync("umount", [path]);
    await rm(path, { recursive: true });
  };
  return { path, [Symbol.asyncDispose]: unmount };
}
