/** Flags of whatever listens, and P8: nothing listens beyond loopback by accident. */
import { EverycoreError } from "@everycore/protocol";
import type { Command } from "commander";
import { isLoopback, parseListen } from "../input/values.ts";

export interface NetworkFlags {
  readonly listen?: string;
  readonly httpListen?: string;
  readonly advertise?: string;
  readonly insecureNetwork?: boolean;
}

export function withNetworkFlags(command: Command): Command {
  return command
    .option("--listen <host:port>", "where to listen for gRPC", parseListen)
    .option("--http-listen <host:port>", "where to listen for HTTP", parseListen)
    .option("--advertise <host:port>", "the address that others shall use", parseListen)
    .option("--insecure-network", "allow to listen beyond this machine WITHOUT encryption");
}

/** P8. Refuses or warns loudly. */
export function checkNetwork(flags: NetworkFlags): void {
  const open = [flags.listen, flags.httpListen].find(
    (address) => address !== undefined && !isLoopback(address),
  );
  if (open === undefined) return;
  if (flags.insecureNetwork !== true) {
    throw new EverycoreError(
      "bad-input",
      `${open} can be reached from other machines, and this release has no TLS`,
      {
        hint: "listen on 127.0.0.1, or say --insecure-network inside a network you trust wholly",
      },
    );
  }
  process.stderr.write(
    `WARNING: listening on ${open} without encryption: whoever reads this network's traffic learns the secret and can run code as you\n`,
  );
}
