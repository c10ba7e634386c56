-- runtime.lua: the Lua of src/runtime, found by specs: require this before `tidemill…`.
--
--   require "spec.support.runtime"
--   local testing = require "tidemill.testing"
package.path = "src/runtime/?.lua;" .. package.path

local runtime = {}

-- A seed for specs that draw at random; print it. TIDEMILL_SEED repeats one.
function runtime.seed()
  return tonumber(os.getenv "TIDEMILL_SEED") or os.time()
end

-- A generator of our own, so that a seed gives the same numbers in whatever order specs run: draw(n) is 1 … n, draw() 0 … 1.
function runtime.generator(seed)
  local x = seed % 2147483647
  if x == 0 then x = 1 end
  local function step()
    x = x * 48271 % 2147483647 -- Park and Miller
    return x
  end
  for _ = 1, 10 do step() end
  return function(n)
    if not n then return step() / 2147483647 end
    return 1 + math.floor(step() / 2147483647 * n)
  end
end

return runtime
