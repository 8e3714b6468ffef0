/** Keeps the end of the log in sight, whatever becomes of its room, until the reader scrolls up; back at the end, again. */

/** So near the end is at the end. */
const NEAR_PX = 9;

/** An element that scrolls. The box of the log is one; where the screen is narrow or low, the page is another. */
class Scroller {
  #top = 0;
  #follows = false;

  /** source is where the scroll events of the element arrive. */
  constructor(element, source) {
    this.element = element;
    source.addEventListener("scroll", () => this.#scrolled(), { passive: true });
  }

  /** Only a way up is the reader's wish: a box that shrinks or rows that come leave the place as it is. */
  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    if (scrollTop + clientHeight > scrollHeight - NEAR_PX) this.follow(true);
    else if (scrollTop < this.#top) this.follow(false);
    this.#top = scrollTop;
  }

  /** Who reads an older row keeps it in place while rows above it go; at the end, that would be one more movement. */
  follow(wanted) {
    this.#follows = wanted;
    this.element.classList.toggle("follows", wanted);
  }

  toEnd() {
    if (!this.#follows) return;
    this.element.scrollTop = this.element.scrollHeight;
    this.#top = this.element.scrollTop;
  }
}

export class Follower {
  #frame = 0;

  /** box is the element around the table, others are what takes room from it; busy() tells whether the page must stay. */
  constructor(box, others, busy) {
    this.box = new Scroller(box, box);
    this.page = new Scroller(document.documentElement, document);
    this.busy = busy;
    const changed = () => this.changed();
    const sizes = new ResizeObserver(changed);
    // Not the box: a row that is unfolded to be read makes it grow, and is not to be scrolled past.
    for (const other of others) sizes.observe(other);
    addEventListener("resize", changed);
    // The page may have had to stay until now.
    addEventListener("focusin", changed);
    visualViewport.addEventListener("resize", () => this.#makeRoom());
  }

  /** The reader begins something new, and wants to see it. Before that, the page stays at its top. */
  again() {
    this.box.follow(true);
    this.page.follow(true);
    this.changed();
  }

  /** Once a frame, because asking for a height lays out the table. */
  changed() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.box.toEnd();
      if (!this.busy()) this.page.toEnd();
    });
  }

  /** An on-screen keyboard may cover the end of the page, where no scrolling reaches it. Zooming in covers nothing. */
  #makeRoom() {
    const { height, scale } = visualViewport;
    const covered = Math.round(document.documentElement.clientHeight - height * scale);
    document.body.style.paddingBottom = covered > 50 ? `${covered}px` : "";
    this.changed();
  }
}
