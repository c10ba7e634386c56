-- each.lua: `pairs` and `next` that are safe on the LuaJIT of Debian 12 (2.1.0-beta3 of 2022-03-20), for rules and for our own
-- modules.
--
-- LuaJIT turns `for k, v in pairs(t)` and `for k, v in next, t` into a special loop (ITERN), and back into a common one when it
-- cannot compile it. When that happens in the middle of a loop, the rest of the elements is silently left out (LuaJIT issue 827,
-- fixed two weeks after Debian's version; 1510 is of the same kind and newer). It only does so for its own `next`; for a function
-- of ours it never makes the special loop. The other one, issue 829 (a compiled `next` may truncate a pointer), is the engine's
-- matter: its stack lies below 4 GB (sandbox), and the test kit does not compile (testing.lua).
local each = {}

local raw_next = next

---As Lua's `next`.
function each.next(t, k)
  return raw_next(t, k)
end

---As Lua's `pairs`.
function each.pairs(t)
  if type(t) ~= "table" then
    error(("bad argument #1 to 'pairs' (table expected, got %s)"):format(t == nil and "nil" or type(t)), 2)
  end
  return each.next, t, nil
end

return each
