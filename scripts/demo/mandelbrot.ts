/**
 * The demo's task: one tile of a picture of the Mandelbrot set, in double precision. An item is the tile's number;
 * the value is the tile's pixels, RGB, row after row.
 *
 * The view lies in the valley of the sea horses, 100,000 times closer than the whole set, around one of its small
 * copies. A tile inside the copy takes twenty times as long as one in the open: whoever cuts the picture evenly leaves
 * cores idle. A pixel is 6e-9 wide, far above the spacing of doubles, so none of them is noise.
 */

export const picture = {
  width: 3840,
  height: 2160,
  /** Pixels along a tile's side; divides width and height. */
  tile: 80,
  /** Centre of the view. */
  real: -0.743642,
  imaginary: 0.1318257,
  /** Width of the view. */
  across: 2.4e-5,
  iterationsMax: 4_000,
  /** Points along a pixel's side whose colours are averaged: the filigree would flicker without. */
  samples: 2,
} as const;

export const tilesAcross = picture.width / picture.tile;
export const tileCount = tilesAcross * (picture.height / picture.tile);
/** Bytes of one row of a tile. */
export const tileRowBytes = picture.tile * 3;

/** Radius at which a point counts as escaped, squared. Large, so that the colours have no steps. */
const escapeSquared = 1e6;

/** Renders tile number `tile`, counted row by row. */
export default function renderTile(tile: number): Uint8Array {
  const pixels = new Uint8Array(picture.tile * tileRowBytes);
  const left = (tile % tilesAcross) * picture.tile;
  const top = Math.floor(tile / tilesAcross) * picture.tile;
  const colour = new Float64Array(3);
  let at = 0;
  for (let y = top; y < top + picture.tile; y += 1) {
    for (let x = left; x < left + picture.tile; x += 1) {
      averageColour(x, y, colour);
      for (const channel of colour) pixels[at++] = Math.round(channel);
    }
  }
  return pixels;
}

function averageColour(x: number, y: number, colour: Float64Array): void {
  const { width, height, samples } = picture;
  const step = picture.across / width;
  colour.fill(0);
  for (let part = 0; part < samples * samples; part += 1) {
    const subX = x + ((part % samples) + 0.5) / samples;
    const subY = y + (Math.floor(part / samples) + 0.5) / samples;
    const real = picture.real + (subX - width / 2) * step;
    const imaginary = picture.imaginary + (height / 2 - subY) * step;
    addColour(colour, smoothCount(real, imaginary), 1 / (samples * samples));
  }
}

/** Iterations until the orbit of a point escapes, with a fraction that makes them continuous; -1 for never. */
function smoothCount(real: number, imaginary: number): number {
  let zr = 0;
  let zi = 0;
  let rr = 0;
  let ii = 0;
  for (let count = 1; count <= picture.iterationsMax; count += 1) {
    zi = 2 * zr * zi + imaginary;
    zr = rr - ii + real;
    rr = zr * zr;
    ii = zi * zi;
    if (rr + ii > escapeSquared) return count + 4 - Math.log2(Math.log(rr + ii));
  }
  return -1;
}

/** Colours run with the logarithm of the count: on a linear scale the outer rings of the copy would be noise. */
function addColour(colour: Float64Array, count: number, weight: number): void {
  if (count < 0) return; // black
  const phase = Math.log2(count) * 1.1 - 0.35;
  colour[0]! += weight * wave(phase, 0.02);
  colour[1]! += weight * wave(phase, 0.12);
  colour[2]! += weight * wave(phase, 0.25);
}

const wave = (phase: number, shift: number): number =>
  255 * (0.5 - 0.5 * Math.cos(2 * Math.PI * (phase + shift)));
