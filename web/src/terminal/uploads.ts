// The uploads to a target: some at once, the others wait.

export type Fate =
  | { state: "waiting" }
  | { state: "going"; sent: number }
  | { state: "done" }
  | { state: "exists" }
  | { state: "cancelled" }
  /** Without a sentence the connection broke. */
  | { state: "failed"; why: string | null };

export interface Upload {
  id: number;
  file: File;
  directory: string;
  overwrite: boolean;
  fate: Fate;
}

/** What sends a file: tells how far it is, then what has become of it; returns how to stop it. */
export type Send = (upload: Upload, tell: (fate: Fate) => void) => () => void;

/** A browser has few connections to a site, and the page needs some. */
export const AT_ONCE = 3;

export class Uploads {
  private all: readonly Upload[] = [];
  private readonly going = new Map<number, () => void>();
  private readonly listeners = new Set<() => void>();
  private last = 0;

  /** `finished` is called with each that has arrived. */
  constructor(
    private readonly send: Send,
    private readonly finished: (upload: Upload) => void,
  ) {}

  snapshot = (): readonly Upload[] => this.all;

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Sends files to a directory, of which those that are `there` wait for a word. */
  add(files: readonly File[], directory: string, there: ReadonlySet<string>): void {
    const added = files.map((file): Upload => {
      const fate: Fate = there.has(file.name) ? { state: "exists" } : { state: "waiting" };
      return { id: ++this.last, file, directory, overwrite: false, fate };
    });
    this.change([...this.all, ...added]);
  }

  /** Sends one although there is such a file. */
  replace(id: number): void {
    this.change(this.all.map((upload) => (upload.id === id ? { ...upload, overwrite: true, fate: { state: "waiting" } } : upload)));
  }

  cancel(id: number): void {
    const stop = this.going.get(id);
    this.tell(id, { state: "cancelled" });
    stop?.();
  }

  cancelAll(): void {
    for (const { id, fate } of this.all) if (fate.state === "waiting" || fate.state === "going") this.cancel(id);
  }

  private tell(id: number, fate: Fate): void {
    const upload = this.all.find((upload) => upload.id === id);
    if (!upload || upload.fate.state === "cancelled") return;
    if (fate.state !== "going") this.going.delete(id);
    this.change(this.all.map((upload) => (upload.id === id ? { ...upload, fate } : upload)));
    if (fate.state === "done") this.finished(upload);
  }

  private change(all: readonly Upload[]): void {
    this.all = all;
    for (const listener of this.listeners) listener();
    const next = this.all.find(({ id, fate }) => fate.state === "waiting" && !this.going.has(id));
    if (!next || this.going.size >= AT_ONCE) return;
    // It is there before it is sent, so that what is told at once is no surprise.
    this.going.set(next.id, () => undefined);
    const stop = this.send(next, (fate) => this.tell(next.id, fate));
    if (!this.going.has(next.id)) return;
    this.going.set(next.id, stop);
    this.tell(next.id, { state: "going", sent: 0 });
  }
}
