// What piscina's threads run: the functions of bench/tasks.ts.
export { nothing, spin } from "../../tasks.ts";
