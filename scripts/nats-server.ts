// Prints the path of the nats-server that tests and demo use, fetching it when the machine has none.
// scripts/setup.mjs runs it; shell scripts may too: NATS=$(node scripts/nats-server.ts).

import { resolveNatsServer } from "../packages/cli/src/nats-server/index.ts";

try {
  const server = await resolveNatsServer({ log: (line) => process.stderr.write(`${line}\n`) });
  process.stdout.write(`${server.path}\n`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
