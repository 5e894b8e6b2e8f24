export interface Measures {
  readonly main: {
    readonly maxWidth: string;
    readonly borderTopLeftRadius: string;
  };
  readonly body: { readonly display: string; readonly marginTop: string; readonly backgroundColor: string };
  readonly texts: readonly {
    /** Name of the element, in lower case. */
    readonly name: string;
    /** Contrast between ink and paper (WCAG 2.2). */
    readonly contrast: number;
    readonly onDark: boolean;
    /** In pixels. */
    readonly fontSize: number;
    /** Whether it is on the screen, with everything in it. */
    readonly fits: boolean;
  }[];
  readonly scrollWidth: number;
}

/** Measures a page in a browser. It runs in the page, so it may use nothing from outside itself. */
export function measure(): Measures;
