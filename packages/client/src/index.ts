/** What programs import to use a cluster. */
export { EverycoreError } from "@everycore/protocol";
