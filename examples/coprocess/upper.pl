#!/usr/bin/perl
# A coprocess in Perl: its words, then its input in capitals; status = how many words. JSON::PP comes with Perl.
use strict;
use warnings;
use Cwd qw(getcwd);
use IO::Handle;
use JSON::PP;

sub main {
    my @words = @_;
    if (@words && $words[0] eq '--where') {
        print getcwd(), ' ', $ENV{COLOUR} // 'none', "\n";
        return 0;
    }
    print "@words\n";
    print uc while <STDIN>;
    print STDERR scalar(@words), " words\n";
    return scalar @words;
}

sub redirect {
    my ($handle, $mode, $path) = @_;
    open $handle, $mode, $path or return 0;
    return 1;
}

sub invoke {
    my ($request) = @_;
    my $pid = fork // return 126;
    if (!$pid) {
        my %env = %{$request->{env} || {}};
        for my $name (keys %env) {
            my $value = $env{$name};
            defined $value ? ($ENV{$name} = $value) : delete $ENV{$name};
        }
        redirect(\*STDIN, '<', $request->{stdin}) or exit 126 if defined $request->{stdin};
        redirect(\*STDOUT, '>>', $request->{stdout}) or exit 126 if defined $request->{stdout};
        redirect(\*STDERR, '>>', $request->{stderr}) or exit 126 if defined $request->{stderr};
        chdir $request->{cwd} or exit 126 if defined $request->{cwd};
        umask oct $request->{umask} if defined $request->{umask};
        my (undef, @words) = map { $_ } @{$request->{argv}};
        my $status = main(@words);
        STDOUT->flush;
        exit($status & 255);
    }
    waitpid $pid, 0;
    return $? & 127 ? 128 + ($? & 127) : $? >> 8;
}

my %fcli = map { $_ => delete $ENV{"FCLI_$_"} } qw(VERSION REQUEST_FIFO RESPONSE_FIFO CLIENT_PID STREAMS LOG);
if (($fcli{VERSION} // '') ne '1' || ($fcli{CLIENT_PID} // getppid) != getppid) {
    exit(main(@ARGV) & 255);
}
open my $requests, '<', $fcli{REQUEST_FIFO} or die;
open my $responses, '>', $fcli{RESPONSE_FIFO} or die;
$responses->autoflush(1);
my $json = JSON::PP->new->allow_nonref;
my @features = qw(cd cwd echo env flush streams umask version);
my $announce = 1;
while (my $line = <$requests>) {
    $line =~ s/\\udc([89a-f][0-9a-f])/chr hex $1/ge;    # a byte that is no UTF-8: words are bytes here
    my $request = eval { $json->decode($line) };
    my %response = (status => 0);
    if (ref $request ne 'HASH') { $response{status} = 2 }
    elsif ($request->{argv}) {
        $response{status} = invoke($request);
        if (delete $fcli{STREAMS}) {    # readers of what it was started with wait for its end
            redirect(\*STDIN, '<', '/dev/null');
            redirect(\*STDOUT, '>>', '/dev/null');
            redirect(\*STDERR, '>>', $fcli{LOG} // '/dev/null') || redirect(\*STDERR, '>>', '/dev/null');
        }
    }
    elsif (exists $request->{flush}) { STDOUT->flush }
    elsif (exists $request->{version}) { $announce = 1 }
    elsif (exists $request->{echo}) { $response{echo} = $request->{echo} }
    elsif (exists $request->{cd}) { $response{status} = 1 unless chdir $request->{cd} }
    elsif (exists $request->{env}) {
        for my $name (keys %{$request->{env}}) {
            my $value = $request->{env}{$name};
            defined $value ? ($ENV{$name} = $value) : delete $ENV{$name};
        }
    }
    else { $response{status} = 2 }
    if ($announce) { $announce = 0; $response{version} = 1; $response{features} = \@features }
    # "status" stands first, for shells.
    my $status = delete $response{status};
    my $more = join '', map { ',"' . $_ . '":' . $json->encode($response{$_}) } sort keys %response;
    print $responses "{\"status\":$status$more}\n";
}
