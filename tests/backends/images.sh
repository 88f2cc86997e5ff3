# What images of the tests' containers are made of: programs of this machine, so that no registry is asked.
# To be sourced; each function fills a directory.
# shellcheck shell=bash

accounts_of_image() { # DIRECTORY
    echo 'root:x:0:0:root:/root:/bin/sh' >"$1/etc/passwd"
    echo 'root:x:0:' >"$1/etc/group"
}

libraries_of() { # PROGRAM; none, if it is linked statically
    { ldd "$1" 2>/dev/null || true; } | { grep -o '/[^ ]*' || true; }
}

busybox_tree() { # DIRECTORY
    local root=$1
    mkdir -p "$root"/{bin,etc,tmp,root,proc,sys,dev,usr/bin}
    chmod 1777 "$root/tmp"
    cp "$(command -v busybox)" "$root/bin/busybox"
    libraries_of "$root/bin/busybox" | while read -r library; do cp -L --parents "$library" "$root/"; done
    for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    accounts_of_image "$root"
}

# The machine's own Python, shells and tools with the libraries that they ask for; bwrap too, where it is here.
python_tree() { # DIRECTORY
    local root=$1 tool
    mkdir -p "$root"/{etc,tmp,root,proc,sys,dev,run,usr/bin,usr/lib,usr/lib64}
    chmod 1777 "$root/tmp"
    for name in bin lib lib64; do ln -s "usr/$name" "$root/$name"; done
    for tool in python3 dash bash tar gzip setsid awk bwrap $(dpkg-query -L coreutils findutils grep sed procps 2>/dev/null |
        sed -n 's|^\(/usr\)\{0,1\}/bin/||p'); do
        [ -x "/usr/bin/$tool" ] || continue
        cp -L "/usr/bin/$tool" "$root/usr/bin/$tool"
        libraries_of "/usr/bin/$tool"
    done | sort -u | while read -r library; do cp -L --parents "$library" "$root/"; done
    ln -s dash "$root/usr/bin/sh"
    cp -a --parents "$(/usr/bin/python3 -c 'import os; print(os.path.dirname(os.__file__))')" "$root/"
    rm -rf "$root"/usr/lib/python3*/{test,idlelib,ensurepip,lib2to3,config-*,dist-packages,site-packages}
    find "$root" -name __pycache__ -type d -prune -exec rm -rf {} +
    accounts_of_image "$root"
}
