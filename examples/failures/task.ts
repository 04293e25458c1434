export function handle(order: string): string {
  switch (order) {
    case "decline":
      throw new Error("the bank said no");
    case "hang":
      for (;;);
    case "crash":
      process.kill(process.pid, "SIGSEGV");
      for (;;); // the signal is on its way
    default:
      return `${order} is done`;
  }
}
