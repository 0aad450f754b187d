// Gathers what comes in one go, so that it is one change of the page: until the next frame, or in a tab that nobody sees,
// which draws no frames, only until the code that runs has ended.

export class Batch<T> {
  private waiting: T[] = [];
  private asked = false;

  constructor(private readonly give: (items: T[]) => void) {}

  open(): void {
    document.addEventListener("visibilitychange", this.flush);
  }

  /** What waits is forgotten. */
  close(): void {
    document.removeEventListener("visibilitychange", this.flush);
    this.waiting = [];
  }

  add(item: T): void {
    this.waiting.push(item);
    // A frame that was asked for before the tab was hidden does not come until it is seen again.
    if (document.hidden) return queueMicrotask(this.flush);
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.flush();
    });
  }

  private flush = (): void => {
    const items = this.waiting;
    if (items.length === 0) return;
    this.waiting = [];
    this.give(items);
  };
}
