-- record.lua: busted's output for scripts/check: the plain one, and a line in $SPEC_RECORD for everything that happens.
--
--   start NAME · success · failure · error · pending · end
--
-- Written as it happens: after a crash, the record says what passed before, and which spec it was in.
return function(options)
  local busted = require "busted"
  local plain = require "busted.outputHandlers.plainTerminal" (options)
  local record = assert(io.open(assert(os.getenv "SPEC_RECORD"), "w"))

  local function note(...)
    record:write(table.concat({ ... }, " "):gsub("\n", " "), "\n")
    record:flush()
    return nil, true
  end

  local subscribe, is_inside = plain.subscribe, false
  function plain.subscribe(self, ...)
    busted.subscribe({ "test", "start" }, function(element)
      is_inside = true
      return note("start", (plain.getFullName(element)))
    end)
    busted.subscribe({ "test", "end" }, function(_, _, status)
      is_inside = false
      return note(status)
    end)
    -- Errors outside of specs: in a file, a describe, a setup. Those inside are the spec's status.
    for _, kind in ipairs { "failure", "error" } do
      busted.subscribe({ kind }, function(element)
        if not is_inside and element.descriptor ~= "it" then
          note(kind)
        end
        return nil, true
      end)
    end
    busted.subscribe({ "suite", "end" }, function()
      return note "end"
    end)
    return subscribe(self, ...)
  end
  return plain
end
