#!/bin/sh
# Ask the server on port ${1:-8000} whether it takes images; exit code 0 if so.
exec python3 -c "
import sys, urllib.request
urllib.request.urlopen(f'http://127.0.0.1:{sys.argv[1]}/readyz', timeout=2)
" "${1:-8000}"
