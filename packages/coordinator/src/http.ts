/** HTTP for machines that watch us: liveness, readiness, metrics. */
import { once } from "node:events";
import { createServer } from "node:http";
import { EverycoreError } from "@everycore/protocol";
import type { Registry } from "prom-client";
import { splitAddress } from "./config.ts";

export interface HttpOptions {
  readonly listen: string;
  readonly registry: Registry;
  /** Why it is not ready, or "". */
  readonly notReady: () => Promise<string>;
}

export interface HttpServer extends AsyncDisposable {
  readonly address: string;
}

export async function serveHttp(options: HttpOptions): Promise<HttpServer> {
  const { host, port } = splitAddress(options.listen);
  const server = createServer((request, response) => {
    const answer = (status: number, body: string, type = "text/plain; charset=utf-8"): void => {
      response.writeHead(status, { "content-type": type }).end(body);
    };
    switch (request.url?.split("?")[0]) {
      case "/healthz":
        return answer(200, "ok\n");
      case "/readyz":
        void options.notReady().then((reason) => answer(reason === "" ? 200 : 503, `${reason || "ok"}\n`));
        return;
      case "/metrics":
        void options.registry.metrics().then(
          (text) => answer(200, text, options.registry.contentType),
          () => answer(500, "the metrics could not be read\n"),
        );
        return;
      case undefined:
      default:
        return answer(404, "not found\n");
    }
  });
  server.listen(port, host);
  try {
    await once(server, "listening");
  } catch (error) {
    const isTaken = error instanceof Error && "code" in error && error.code === "EADDRINUSE";
    throw new EverycoreError(
      "conflict",
      `cannot listen on ${options.listen}${isTaken ? ": the port is taken" : ""}`,
      {
        hint: "choose another port for HTTP, or 0 for any",
        cause: error,
      },
    );
  }
  const bound = server.address();
  const boundPort = typeof bound === "object" && bound !== null ? bound.port : port;
  return {
    address: `${host}:${boundPort}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close").catch(() => {}); // closed twice is fine
    },
  };
}
