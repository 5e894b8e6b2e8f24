/*
 * Closes `Object.prototype` to additions. A parser of an untrusted file then cannot give every object a new property.
 * It is not frozen: error classes of Node and of libraries assign `name` and `toString` to their own objects, which a
 * frozen prototype would forbid. bin.ts imports this file first, so it runs before everything else.
 */
Object.preventExtensions(Object.prototype);
