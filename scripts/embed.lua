-- embed.lua: writes the runtime's Lua modules as one C file. Usage: luajit scripts/embed.lua ROOT FILE... > modules.c
local root = arg[1]
print '#include "sandbox/modules.h"\n'
local rows = {}
for n = 2, #arg do
  local path = arg[n]
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  assert(loadstring(text, "@" .. path)) -- a syntax error stops the build here
  local name = path:sub(#root + 2):gsub("%.lua$", ""):gsub("/", ".")
  io.write(("static const unsigned char module_%d[] = {"):format(n))
  for i = 1, #text do
    if i % 32 == 1 then io.write "\n" end
    io.write(text:byte(i), ",")
  end
  print "0};\n"
  rows[#rows + 1] = ('    {"%s", "@%s", (const char *)module_%d, %d},'):format(name, path, n, #text)
end
print(("const struct module modules[] = {\n%s\n};\nconst size_t module_count = %d;"):format(table.concat(rows, "\n"), #rows))
