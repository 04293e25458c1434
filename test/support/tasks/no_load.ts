// Builds, and fails where it runs: the module throws while it is loaded.

const isLoadable = (): boolean => false;
if (!isLoadable()) throw new Error("this module cannot be loaded here");

export default (n: number): number => n;
