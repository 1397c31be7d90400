/** Something took longer than it may; it may still happen. */
export class TimedOut extends Error {}

/**
 * The promise, or TimedOut after so many milliseconds. What comes of it later is nobody's concern.
 */
export async function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new TimedOut(`${what} took over ${ms} ms`)), ms);
  });
  promise.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
