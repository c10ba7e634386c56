-- attack.lua: what the specs of spec/sandbox share: a rule around an attack, and the same text in plain LuaJIT as its control.
require "spec.support.runtime"
local engine = require "spec.support.engine"
local process = require "spec.support.process"
local redis = require "spec.support.redis"
local testing = require "tidemill.testing"

local attack = {}

-- A rule whose handler is `body`; `before` stands at file level.
function attack.rule(body, before, head)
  return ([[
local tidemill = require "tidemill"
%s
return tidemill.rule {
  stream = "s", %s
  on_event = function(event, ctx)
    %s
  end,
}
]]):format(before or "", head or "", body)
end

-- Runs a handler on one event. Returns what it emitted to "out", its letter, and the kit.
function attack.run(body, before, head, options)
  local kit = testing.load({ ["rule.lua"] = attack.rule(body, before, head) }, options)
  kit:event("s", { n = 1 })
  local effect = kit:effects()[1]
  return effect and effect.fields, kit:letters()[1], kit
end

-- What the mistakes of a folder are.
function attack.refused(files, options)
  local ok, why = pcall(testing.load, files, options)
  if ok then error("these rules should have been refused", 2) end
  return why
end

-- What an expression gives in plain LuaJIT, with all of its libraries.
function attack.plain(code)
  local names = setmetatable({ tidemill = require "tidemill" }, { __index = _G })
  return assert(load(code, "=plain", "bt", names))()
end

-- A rule of each text reads the stream; they run in the order of their names.
function attack.together(bodies)
  local files = {}
  for name, body in pairs(bodies) do
    files[name .. ".lua"] = type(body) == "table" and attack.rule(body[1], body[2]) or attack.rule(body)
  end
  local kit = testing.load(files)
  kit:event("s", { n = 1, list = { 1, 2 } })
  kit:event("s", { n = 2, list = { 1, 2 } })
  return kit
end

-- Text in a plain LuaJIT of its own, for controls that may take it down or never come to an end. Returns how it ended
-- (see process.lua), or nil when it had not after `deadline_s`.
function attack.alone(code, deadline_s)
  local child = process.start { "luajit", "-joff", "-e", code }
  local ok, status = pcall(child.wait, child, deadline_s or 5)
  if not ok then child:kill() end
  return ok and status or nil
end

-- Calls `test(server, start)`. `start(rules, settings)` gives an engine with these rules and a witness, which pushes the ID of
-- each event to the list `witness`.
function attack.with_engine(test)
  local server, e = redis.start(), nil
  local ok, why = pcall(test, server, function(rules, settings)
    rules["witness.lua"] = attack.rule "ctx.redis.rpush('witness', ctx.id)"
    -- A sanitizer would tell of a crash in its own words, in the middle of the log; here crashes are expected.
    local quiet = (os.getenv "ASAN_OPTIONS" or "") .. ":handle_segv=0:handle_abort=0:handle_sigbus=0"
    e = engine.start { server = server, rules = rules, settings = settings, env = { ASAN_OPTIONS = quiet } }
    return e
  end)
  if e then e:kill() end
  server:stop()
  if not ok then error(why, 0) end
end

-- Many attacks in one engine: a rule for each, all on one event. `attacks` are { body, reason }: the reason of the letter that the
-- attack must end in, a list of reasons when it depends on the machine, nil for none. Whatever becomes of them, every rule must
-- process the events before and behind it, the engine must run on, and as many workers have ended as there are letters `crash` or
-- `hang`.
function attack.storm(attacks, settings)
  attack.with_engine(function(server, start)
    local rules = {}
    for n, one in ipairs(attacks) do
      rules[("a%03d.lua"):format(n)] = attack.rule(("if event.attack then %s end ctx.redis.rpush('done', ctx.id .. ' %d')")
        :format(one[1], n))
    end
    for id = 1, 3 do server:call("XADD", "s", "1-" .. id, "data", engine.pack(id == 2 and { attack = true } or { n = id })) end
    local e = start(rules, settings)
    e:wait_position("s", "1-3", 10 + 2 * #attacks)
    e:wait_done()
    local done, killed = {}, 0
    for _, line in ipairs(server:call("LRANGE", "done", 0, -1)) do done[line] = (done[line] or 0) + 1 end
    local reasons = {}
    for _, letter in ipairs(e:letters()) do
      local n = tonumber(letter.rule:match "%d+")
      if letter.reason ~= "unverified" then -- at most one for each worker that died behind a write (design 4.5)
        if not n or reasons[n] or letter.id ~= "1-2" then
          error(("a letter of %s at %s: %s: %s"):format(letter.rule, letter.id, letter.reason, letter.message))
        end
        reasons[n] = letter
      end
      if letter.reason == "crash" or letter.reason == "hang" then killed = killed + 1 end
    end
    for n, one in ipairs(attacks) do
      local got, wanted = reasons[n] and reasons[n].reason or "none", one[2] or "none"
      local fits = got == wanted
      for _, other in ipairs(type(wanted) == "table" and wanted or {}) do fits = fits or got == other end
      if not fits then
        error(("%s\nended in %s %s"):format(one[1], got, reasons[n] and reasons[n].message or ""))
      end
      for id = 1, 3 do
        local times = done[("1-%d %d"):format(id, n)] or 0
        if times ~= ((id == 2 and reasons[n]) and 0 or 1) then error(("%s\nprocessed 1-%d %d times"):format(one[1], id, times)) end
      end
    end
    if server:call("LLEN", "witness") ~= 3 then error "the witness has not seen three events" end
    if #e:logged "worker_ended" ~= killed then error(("%d workers ended"):format(#e:logged "worker_ended")) end
    e:stop()
  end)
end

return attack
