/** A disk that is full soon, for tests that may mount one. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { onTestFinished } from "vitest";

/** A file system of its own with room for a few records; needs root. */
export function mountSmall(folder: string): void {
  mkdirSync(folder);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], { stdio: "ignore" });
  onTestFinished(() => void execFileSync("umount", [folder]));
}

export function canMount(): boolean {
  if (!existsSync("/dev/full") || process.getuid?.() !== 0) return false;
  try {
    execFileSync("unshare", ["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], { stdio: "ignore" });
    return true;
  } catch {
    return false; // a container without CAP_SYS_ADMIN
  }
}
