/*
 * Nobody can add to `Object.prototype` from here on, so no parser that is handed a file of a stranger can give every object
 * a new property. Not frozen: error classes, of Node's and of libraries, assign `name` and `toString` to their own objects,
 * which a frozen prototype would forbid. The first import of bin.ts, so that it runs before everything else.
 */
Object.preventExtensions(Object.prototype);
