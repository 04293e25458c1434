/** `/healthz`, `/readyz`, `/metrics` of the agent. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { EverycoreError } from "@everycore/protocol";
import type { Registry } from "prom-client";

export interface HttpDoor {
  readonly address: string;
  close(): Promise<void>;
}

export async function openHttp(
  listen: string,
  door: { ready: () => boolean; metrics: Registry },
): Promise<HttpDoor> {
  const server = createServer((request, response) => {
    const answer = (code: number, body: string, type = "text/plain; charset=utf-8"): void => {
      response.writeHead(code, { "content-type": type }).end(body);
    };
    if (request.url === "/healthz") return answer(200, "ok\n");
    if (request.url === "/readyz")
      return door.ready() ? answer(200, "ready\n") : answer(503, "no link to a leader\n");
    if (request.url !== "/metrics") return answer(404, "not found\n");
    door.metrics.metrics().then(
      (text) => answer(200, text, door.metrics.contentType),
      (error: unknown) => answer(500, String(error)),
    );
  });
  const at = listen.lastIndexOf(":");
  server.listen(Number(listen.slice(at + 1)), listen.slice(0, at).replace(/^\[|\]$/g, ""));
  await once(server, "listening").catch((error: unknown) => {
    const isTaken = error instanceof Error && "code" in error && error.code === "EADDRINUSE";
    const why = isTaken ? "the port is taken" : String(error);
    throw new EverycoreError("conflict", `cannot listen on ${listen}: ${why}`, {
      hint: "choose another port for HTTP, or 0 for any",
      cause: error,
    });
  });
  const { address, port } = server.address() as AddressInfo; // listening on TCP: never a pipe's name
  return {
    address: `${address.includes(":") ? `[${address}]` : address}:${port}`,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
