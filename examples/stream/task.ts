import { createHash } from "node:crypto";

export function digestOf(line: string): { digest: string; length: number } {
  return { digest: createHash("sha256").update(line).digest("hex").slice(0, 8), length: line.length };
}
