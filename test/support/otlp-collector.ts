// A collector of traces as a test's own: OTLP over HTTP, protobuf, in this process. It reads what really travels.

import { once } from "node:events";
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { loadSync } from "@grpc/proto-loader";
import type { MethodDefinition } from "@grpc/proto-loader";
import { until } from "./until.ts";

/** Numbers of OTLP. */
export const spanKinds = ["unset", "internal", "server", "client", "producer", "consumer"] as const;
const errorStatus = 2;

export interface CollectedSpan {
  readonly service: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string;
  readonly traceState: string;
  readonly name: string;
  readonly kind: (typeof spanKinds)[number];
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Ids of linked spans. */
  readonly links: readonly string[];
  /** How it failed; undefined: it did not. */
  readonly error: string | undefined;
}

type Value = { stringValue?: string; intValue?: string; boolValue?: boolean; doubleValue?: number };
type Attributes = readonly { key: string; value: Value }[];
interface WireSpan {
  traceId: Buffer;
  spanId: Buffer;
  parentSpanId: Buffer;
  traceState: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: Attributes;
  links: readonly { spanId: Buffer }[];
  status: { code: number; message: string } | null;
}
interface WireRequest {
  resourceSpans: readonly {
    resource: { attributes: Attributes };
    scopeSpans: readonly { spans: readonly WireSpan[] }[];
  }[];
}

const definition = loadSync(join(import.meta.dirname, "otlp.proto"), { longs: String, defaults: true });
const service = definition["everycore.test.otlp.TraceService"] as Record<
  string,
  MethodDefinition<object, object>
>; // a service, by the file above

export class OtlpCollector implements AsyncDisposable {
  readonly #server: Server;
  readonly spans: CollectedSpan[] = [];
  requests = 0;
  /** Answers nothing any more: what a hanging collector is like. */
  isHanging = false;

  constructor(server: Server) {
    this.#server = server;
    server.on("request", (request, response) => {
      this.requests += 1;
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => {
        if (this.isHanging) return;
        if (request.url !== "/v1/traces" || request.headers["content-type"] !== "application/x-protobuf") {
          response.writeHead(404).end();
          return;
        }
        const body = Buffer.concat(parts);
        this.#take(request.headers["content-encoding"] === "gzip" ? gunzipSync(body) : body);
        response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
      });
    });
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`; // it listens on TCP
  }

  /** What a process needs to send its spans here. */
  get environment(): NodeJS.ProcessEnv {
    return { OTEL_EXPORTER_OTLP_ENDPOINT: this.url };
  }

  #take(body: Buffer): void {
    const request = service["Export"]!.requestDeserialize(body) as WireRequest;
    for (const { resource, scopeSpans } of request.resourceSpans) {
      const name = String(valuesOf(resource.attributes)["service.name"]);
      for (const { spans } of scopeSpans) for (const span of spans) this.spans.push(collected(name, span));
    }
  }

  named(name: string): CollectedSpan[] {
    return this.spans.filter((span) => span.name === name);
  }

  /** Waits until the condition holds for what has come. */
  async has(what: string, condition: () => boolean): Promise<void> {
    await until(condition, { withinMs: 15_000, what }).catch((error: unknown) => {
      const seen = this.spans.map(({ service, name, spanId }) => `${service} ${name} ${spanId}`).join("\n");
      throw new Error(`${String(error)}; spans so far:\n${seen}`, { cause: error });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

function collected(serviceName: string, span: WireSpan): CollectedSpan {
  const ms = (nanos: string): number => Number(BigInt(nanos) / 1_000n) / 1_000;
  return {
    service: serviceName,
    traceId: span.traceId.toString("hex"),
    spanId: span.spanId.toString("hex"),
    parentId: span.parentSpanId.toString("hex"),
    traceState: span.traceState,
    name: span.name,
    kind: spanKinds[span.kind] ?? "unset",
    startMs: ms(span.startTimeUnixNano),
    endMs: ms(span.endTimeUnixNano),
    attributes: valuesOf(span.attributes),
    links: span.links.map((link) => link.spanId.toString("hex")),
    error: span.status?.code === errorStatus ? span.status.message : undefined,
  };
}

const valuesOf = (attributes: Attributes): Record<string, unknown> =>
  Object.fromEntries(
    attributes.map(({ key, value }) => [
      key,
      value.intValue === undefined
        ? (value.stringValue ?? value.boolValue ?? value.doubleValue)
        : Number(value.intValue),
    ]),
  );

export async function startCollector(): Promise<OtlpCollector> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return new OtlpCollector(server);
}
