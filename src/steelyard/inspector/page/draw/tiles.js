// @ts-check
// The texts of a large matrix in tiles, each read when it comes into sight.

/** @typedef {(window: MatrixWindow) => Promise<string[]>} ReadTexts */
/** @typedef {{ texts: string[] | null, width: number }} Tile */
/** @typedef {{ textAt(y: number, x: number): string | undefined }} Tiles */

const [TALL, WIDE, KEPT] = [64, 32, 64];

/**
 * The tiles of a matrix: `read(window)` returns the texts of a window; then `onRead()` or `onError(message)` is called.
 * @type {(size: [rows: number, columns: number], read: ReadTexts, on: { onRead(): void, onError(message: string): void }) => Tiles}
 */
export function tilesOf([rows, columns], read, { onRead, onError }) {
  /** @type {Map<string, Tile>} */
  const tiles = new Map();

  /** @type {(key: string, down: number, across: number) => Tile} */
  function ask(key, down, across) {
    /** @type {MatrixWindow} */
    const window = [down * TALL, across * WIDE, Math.min(rows, (down + 1) * TALL), Math.min(columns, (across + 1) * WIDE)];
    /** @type {Tile} */
    const tile = { texts: null, width: window[3] - window[1] };
    tiles.set(key, tile);
    if (tiles.size > KEPT) tiles.delete([...tiles.keys()][0]);
    read(window).then(
      (texts) => {
        tile.texts = texts;
        onRead();
      },
      (error) => onError(error.message),
    );
    return tile;
  }

  return {
    /** The text of an entry, undefined until it has been read. */
    textAt(y, x) {
      const [down, across] = [Math.floor(y / TALL), Math.floor(x / WIDE)];
      const key = `${down} ${across}`;
      const tile = tiles.get(key) ?? ask(key, down, across);
      return tile.texts?.[(y - down * TALL) * tile.width + (x - across * WIDE)];
    },
  };
}
