/** Who may call: every RPC carries the cluster's secret, on loopback too (P8). */
import { createHash, timingSafeEqual } from "node:crypto";
import { EverycoreError } from "@everycore/protocol";

const prefix = "Bearer ";

/** Checks an `authorization` value; throws `refused`. Compares digests, so that time tells nothing of the secret. */
export function bearerCheck(secret: string): (authorization: string | undefined) => void {
  const right = createHash("sha256").update(secret).digest();
  return (authorization) => {
    const given = authorization?.startsWith(prefix) === true ? authorization.slice(prefix.length) : "";
    const digest = createHash("sha256").update(given).digest();
    if (timingSafeEqual(digest, right)) return;
    throw new EverycoreError(
      "refused",
      given === "" ? "the cluster's secret is missing" : "the cluster's secret is wrong",
      {
        hint: "give the cluster's secret by --secret-file or EVERYCORE_SECRET_FILE",
      },
    );
  };
}
