/** The agent's configuration, as the CLI hands it over: one JSON object in argv. */
import { checkLabels, EverycoreError, fieldsOf } from "@everycore/protocol";

export interface AgentConfig {
  /** Addresses of coordinators, tried in turn. */
  readonly join: readonly string[];
  readonly secret: string;
  /** The way to NATS from this machine. Absent: as the coordinator tells. */
  readonly natsUrl?: string;
  /** State directory; one agent each. */
  readonly dataDir: string;
  /** Absent: what the machine gives. */
  readonly slots?: number;
  /** Memory of one worker, bytes, beyond which it is killed. Absent: the machine's memory / slots. */
  readonly workerMemoryBytes?: number;
  /** Bytes that the state directory may hold in all. Absent: 10 GB or a tenth of the disk, at least 1 GB. */
  readonly stateBytesMax?: number;
  /** `key=value`, for jobs that require them. */
  readonly labels: readonly string[];
  /** ms that SIGTERM gives running items to end; what still runs then is given back. Range: 0 to a day. */
  readonly drainMs: number;
  readonly httpListen: string;
  readonly logLevel: string;
  /** Ends with its stdin, so that a killed parent leaves nothing behind. */
  readonly lifeline: boolean;
  /** Allows other than loopback without TLS. */
  readonly insecureNetwork: boolean;
}

/** One job's prints and a few outcome files need so much. */
const stateBytesMin = 32 * 1024 * 1024;
/** A Node worker without any task needs nearly so much. */
const workerMemoryMin = 64 * 1024 * 1024;
/** Most supervisors wait 10 s or more before they kill. */
const drainMsDefault = 10_000;
const drainMsMax = 86_400_000;

export function parseConfig(argument: string | undefined): AgentConfig {
  let value: unknown;
  try {
    value = JSON.parse(argument ?? "");
  } catch (error) {
    throw new EverycoreError("bad-input", "the agent's configuration is not JSON", { cause: error });
  }
  const fields = fieldsOf(value, "agent configuration");
  const join = fields["join"];
  const string = (name: string, fallback?: string): string => {
    const given = fields[name] ?? fallback;
    if (typeof given !== "string" || given === "")
      throw new EverycoreError("bad-input", `agent configuration: "${name}" is missing`);
    return given;
  };
  if (!Array.isArray(join) || join.length === 0 || !join.every((address) => typeof address === "string")) {
    throw new EverycoreError("bad-input", 'agent configuration: "join" must list addresses of coordinators');
  }
  const slots = fields["slots"];
  if (
    slots !== undefined &&
    (!Number.isInteger(slots) || (slots as number) < 1 || (slots as number) > 4_096)
  ) {
    throw new EverycoreError(
      "bad-input",
      `agent configuration: slots must be 1 to 4096, not ${JSON.stringify(slots)}`,
    );
  }
  const memory = bytesOf(fields, "workerMemoryBytes", workerMemoryMin);
  const stateBytesMax = bytesOf(fields, "stateBytesMax", stateBytesMin);
  const drainMs = fields["drainMs"] ?? drainMsDefault;
  if (typeof drainMs !== "number" || !(drainMs >= 0 && drainMs <= drainMsMax)) {
    throw new EverycoreError(
      "bad-input",
      `agent configuration: drainMs must be 0 to ${drainMsMax}, not ${JSON.stringify(drainMs)}`,
    );
  }
  const config: AgentConfig = {
    drainMs,
    join: join as string[],
    labels: labelsOf(fields["labels"]),
    secret: string("secret"),
    dataDir: string("dataDir"),
    httpListen: string("httpListen", "127.0.0.1:0"),
    logLevel: string("logLevel", "info"),
    lifeline: fields["lifeline"] === true,
    insecureNetwork: fields["insecureNetwork"] === true,
    ...(fields["natsUrl"] === undefined ? {} : { natsUrl: string("natsUrl") }),
    ...(slots === undefined ? {} : { slots: slots as number }),
    ...(memory === undefined ? {} : { workerMemoryBytes: memory }),
    ...(stateBytesMax === undefined ? {} : { stateBytesMax }),
  };
  for (const address of [...config.join, config.httpListen]) refuseOpenNetwork(address, config);
  return config;
}

function labelsOf(labels: unknown = []): readonly string[] {
  if (Array.isArray(labels) && labels.every((label) => typeof label === "string")) return checkLabels(labels);
  throw new EverycoreError("bad-input", 'agent configuration: "labels" must be a list of key=value');
}

function bytesOf(fields: Readonly<Record<string, unknown>>, name: string, min: number): number | undefined {
  const bytes = fields[name];
  if (bytes === undefined) return undefined;
  if (typeof bytes === "number" && Number.isSafeInteger(bytes) && bytes >= min) return bytes;
  throw new EverycoreError(
    "bad-input",
    `agent configuration: ${name} must be at least ${min}, not ${JSON.stringify(bytes)}`,
  );
}

/** P8: nothing leaves or listens beyond loopback without TLS, unless the operator says that the network is his. */
function refuseOpenNetwork(address: string, config: AgentConfig): void {
  if (isAllowed(address, config)) return;
  throw new EverycoreError("bad-input", `${address} is beyond loopback, and this link has no TLS yet`, {
    hint: "use loopback or a tunnel, or --insecure-network on a network that is yours alone",
  });
}

/** Also for addresses that a coordinator tells: the agent's secret goes there. */
export function isAllowed(
  address: string,
  { insecureNetwork }: Pick<AgentConfig, "insecureNetwork">,
): boolean {
  const host = address.slice(0, address.lastIndexOf(":")).replace(/^\[|\]$/g, "");
  return insecureNetwork || host === "localhost" || host === "::1" || host.startsWith("127.");
}
