/** Flags of whatever listens, and P8: nothing listens beyond loopback by accident. */
import { EverycoreError } from "@everycore/protocol";
import type { Command } from "commander";
import { isLoopback, parseListen, parseNatsUrls } from "../input/values.ts";
import { listenFor } from "../local/addresses.ts";

export interface NetworkFlags {
  readonly listen?: string;
  readonly httpListen?: string;
  readonly advertise?: string;
  readonly natsListen?: string;
  readonly agentNats?: string;
  readonly insecureNetwork?: boolean;
}

export function withNetworkFlags(command: Command): Command {
  return withHttpFlags(command.option("--listen <host:port>", "where to listen for gRPC", parseListen))
    .option(
      "--advertise <host:port>",
      "the address that clients and agents of other machines shall use (then --listen is all addresses, its port)",
      parseListen,
    )
    .option(
      "--nats-listen <host:port>",
      "where the own nats-server listens (default: --listen's host, port 4222)",
      parseListen,
    )
    .option(
      "--agent-nats <urls>",
      "URLs of NATS that agents shall use (default: --nats, or --advertise's host)",
      parseNatsUrls,
    );
}

/** What agents listen on: nothing but HTTP for probes and metrics. */
export function withHttpFlags(command: Command): Command {
  return command
    .option("--http-listen <host:port>", "where to listen for HTTP", parseListen)
    .option("--insecure-network", "allow connections beyond this machine WITHOUT encryption");
}

const anyLoopback = "127.0.0.1:0";

/** P8. Refuses or warns loudly. */
export function checkNetwork(flags: NetworkFlags & { readonly join?: readonly string[] }): void {
  const isOpen = (address: string | undefined): boolean => address !== undefined && !isLoopback(address);
  const listen = listenFor(flags, anyLoopback);
  const listened = [listen, flags.httpListen, flags.natsListen].find(isOpen);
  const open = listened ?? flags.join?.find(isOpen);
  if (open === undefined) return;
  if (flags.insecureNetwork !== true) {
    const isAdvertised = listened === listen && flags.listen === undefined;
    const why = isAdvertised ? `(for --advertise ${flags.advertise}) ` : "";
    const how = listened === undefined ? "is another machine" : `${why}can be reached from other machines`;
    throw new EverycoreError("bad-input", `${open} ${how}, and this release has no TLS`, {
      hint: "use 127.0.0.1 or a tunnel, or say --insecure-network inside a network you trust wholly",
    });
  }
  process.stderr.write(
    `WARNING: ${listened === undefined ? "joining" : "listening on"} ${open} without encryption: whoever reads this network's traffic learns the secret and can run code as you\n`,
  );
}
